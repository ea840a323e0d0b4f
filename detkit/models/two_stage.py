"""Two-stage detectors: propose regions, crop them, answer questions about each crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.errors import InputError
from detkit.heads import RPN, InstanceBranch, RegionBranch
from detkit.heads.rpn import RPNOutput
from detkit.matching import RegionSampler
from detkit.models.detector import Detector
from detkit.models.loss_weights import weighted
from detkit.models.preprocess import ShortestEdge
from detkit.models.region_pool import RegionAlign
from detkit.necks import Neck
from detkit.structures import Detections, Target


class TwoStageDetector(Detector):
    """Where regions come from, what is cropped, and what is asked of a crop, as three parts that fit together.

        images -> backbone -> neck -+-> rpn -> regions
                                    |             |
                                    +----> region_pool -> box_head -> detections
                                    |                                     |
                                    +----> region_pool -> branches -> masks, keypoints, ...

    Args:
        num_classes: classes without background.
        preprocess: resizes, normalises and pads.
        backbone: the trunk.
        neck: makes the pyramid.
        rpn: proposes regions.
        region_sampler: draws the regions that are trained on.
        region_pool: crops regions from the pyramid.
        box_head: classifies and refines them.
        branches: by name, what else is asked of an object that was found.
        loss_weights: factor of each named loss; those not named count once.

    Raises:
        InputError: the pyramid has no level of the trunk's strides to crop from.
    """

    def __init__(
        self,
        num_classes: int,
        preprocess: ShortestEdge,
        backbone: Backbone,
        neck: Neck,
        rpn: RPN,
        region_sampler: RegionSampler,
        region_pool: RegionAlign,
        box_head: RegionBranch,
        branches: Mapping[str, InstanceBranch] | None = None,
        loss_weights: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__(num_classes)
        self.preprocess = preprocess
        self.backbone = backbone
        self.neck = neck
        self.rpn = rpn
        self.region_sampler = region_sampler
        self.region_pool = region_pool
        self.box_head = box_head
        self.branches = nn.ModuleDict(branches or {})
        self.learns_from = frozenset(branch.learns_from for branch in self.branches.values())
        self.loss_weights = dict(loss_weights or {})
        # Coarser levels that the neck invents (P6) are for large anchors; crops come from levels the trunk has.
        self._pooled = [level for level, stride in enumerate(neck.strides) if stride in backbone.strides]
        if not self._pooled:
            raise InputError(
                f"no level to crop from: the neck has strides {neck.strides}, the trunk {backbone.strides}"
            )

    def raw(self, images: Tensor) -> tuple[list[Tensor], RPNOutput]:
        """Trunk, neck and region proposal head alone: tensors in, tensors out, no NMS.

        Args:
            images: ``(B, 3, H, W)``, preprocessed.

        Returns:
            The pyramid, and the RPN's output on it.
        """
        features = self.neck(self.backbone(images))
        return features, self.rpn(features, images.shape[-2:])

    def compute_losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The losses of proposing regions and of answering about a sample of them."""
        batch = self.preprocess(images)
        targets = self.preprocess.targets(targets, batch)
        features, proposed = self.raw(batch.images)
        proposals = self.rpn.decode(proposed, batch.sizes, for_training=True)
        losses = self.rpn.losses(proposed, targets)
        regions = [self.region_sampler(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
        crops = self._crop(features, [sampled.boxes for sampled in regions])
        losses |= self.box_head.losses(self.box_head(crops), regions)
        foreground = [sampled.foreground() for sampled in regions]
        for branch in self.branches.values():
            crops = self._crop(features, [sampled.boxes for sampled in foreground], branch.resolution)
            losses |= branch.losses(branch(crops), foreground, targets, batch.sizes)
        return weighted(losses, self.loss_weights)

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Propose, crop, answer; in pixels of the images as given."""
        batch = self.preprocess(images)
        features, proposed = self.raw(batch.images)
        proposals = self.rpn.decode(proposed, batch.sizes)
        crops = self._crop(features, proposals)
        found = self.box_head.decode(self.box_head(crops), proposals, batch.sizes)
        boxes = [of_image.boxes for of_image in found]
        detections = self.preprocess.restore(found, batch)
        for branch in self.branches.values():
            crops = self._crop(features, boxes, branch.resolution)
            detections = branch.decode(branch(crops), boxes, detections, batch.given_sizes)
        return detections

    def _crop(self, features: list[Tensor], regions: Sequence[Tensor], resolution: int | None = None) -> Tensor:
        strides = [self.neck.strides[level] for level in self._pooled]
        return self.region_pool([features[level] for level in self._pooled], strides, regions, resolution)
