"""Two-stage detectors: propose regions, crop them, answer questions about each crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.errors import InputError
from detkit.heads import RPN, InstanceBranch, RegionBranch
from detkit.heads.rpn import RPNOutput
from detkit.matching import RegionSampler, SampledRegions
from detkit.models.detector import Detector
from detkit.models.loss_weights import weighted
from detkit.models.preprocess import Batch, ShortestEdge, scaled_boxes
from detkit.models.region_pool import RegionPool
from detkit.necks import Neck
from detkit.proposals import Proposals
from detkit.structures import Detections, Target


class TwoStageDetector(Detector):
    """Where regions come from, what is cropped, and what is asked of a crop, as three parts that fit together.

        images -> backbone -> neck -+-> rpn -> regions      (or images -> proposals -> regions)
                                    |             |
                                    +----> region_pool -> box_head -> detections
                                    |                                     |
                                    +----> region_pool -> branches -> masks, keypoints, ...

    Args:
        num_classes: classes without background.
        preprocess: resizes, normalises and pads.
        backbone: the trunk.
        neck: makes the pyramid; nothing passes the trunk's maps on.
        rpn: proposes regions and learns to; nothing if `proposals` do.
        proposals: finds regions in an image, without learning.
        region_sampler: draws the regions that are trained on.
        region_pool: crops regions from the pyramid.
        box_head: classifies and refines them.
        branches: by name, what else is asked of an object that was found.
        loss_weights: factor of each named loss; those not named count once.

    Raises:
        InputError: the pyramid has no level of the trunk's strides to crop from, or both or neither of `rpn` and
            `proposals` are given.
    """

    def __init__(
        self,
        num_classes: int,
        preprocess: ShortestEdge,
        backbone: Backbone,
        neck: Neck | None,
        rpn: RPN | None,
        region_sampler: RegionSampler,
        region_pool: RegionPool,
        box_head: RegionBranch,
        branches: Mapping[str, InstanceBranch] | None = None,
        loss_weights: Mapping[str, float] | None = None,
        proposals: Proposals | None = None,
    ) -> None:
        super().__init__(num_classes)
        if (rpn is None) == (proposals is None):
            raise InputError("regions come either from an rpn or from proposals: give one of them")
        self.preprocess = preprocess
        self.backbone = backbone
        self.neck = neck if neck is not None else nn.Identity()
        self.rpn = rpn
        self.proposals = proposals
        self.region_sampler = region_sampler
        self.region_pool = region_pool
        self.box_head = box_head
        self.branches = nn.ModuleDict(branches or {})
        self.learns_from = frozenset(branch.learns_from for branch in self.branches.values())
        self.loss_weights = dict(loss_weights or {})
        strides = (neck or backbone).strides
        # Coarser levels that the neck invents (P6) are for large anchors; crops come from levels the trunk has, of
        # several with the same stride from the first.
        self._pooled = [
            level
            for level, stride in enumerate(strides)
            if stride in backbone.strides and stride not in strides[:level]
        ]
        self._pooled_strides = [strides[level] for level in self._pooled]
        if not self._pooled:
            raise InputError(f"no level to crop from: the neck has strides {strides}, the trunk {backbone.strides}")

    def raw(self, images: Tensor) -> tuple[list[Tensor], RPNOutput | None]:
        """Trunk, neck and region proposal head alone: tensors in, tensors out, no NMS.

        Args:
            images: ``(B, 3, H, W)``, preprocessed.

        Returns:
            The pyramid, and the RPN's output on it if there is one.
        """
        features = self.neck(self.backbone(images))
        return features, self.rpn(features, images.shape[-2:]) if self.rpn is not None else None

    def compute_losses(self, images: Sequence[Tensor], targets: Sequence[Target]) -> dict[str, Tensor]:
        """The losses of proposing regions and of answering about a sample of them."""
        batch = self.preprocess(images)
        targets = self.preprocess.targets(targets, batch)
        features, proposed = self.raw(batch.images)
        proposals = self._propose(images, batch, proposed, for_training=True)
        losses = self.rpn.losses(proposed, targets) if self.rpn is not None else {}
        box_losses, regions = self._box_losses(features, proposals, targets)
        losses |= box_losses
        foreground = [sampled.foreground() for sampled in regions]
        for branch in self.branches.values():
            crops = self._crop(features, [sampled.boxes for sampled in foreground], branch.resolution)
            losses |= branch.losses(branch(crops), foreground, targets, batch.sizes)
        return weighted(losses, self.loss_weights)

    def detect(self, images: Sequence[Tensor]) -> list[Detections]:
        """Propose, crop, answer; in pixels of the images as given."""
        batch = self.preprocess(images)
        features, proposed = self.raw(batch.images)
        proposals = self._propose(images, batch, proposed)
        found = self._detected(features, proposals, batch.sizes)
        boxes = [of_image.boxes for of_image in found]
        detections = self.preprocess.restore(found, batch)
        for branch in self.branches.values():
            crops = self._crop(features, boxes, branch.resolution)
            detections = branch.decode(branch(crops), boxes, detections, batch.given_sizes)
        return detections

    def _propose(
        self, images: Sequence[Tensor], batch: Batch, proposed: RPNOutput | None, for_training: bool = False
    ) -> list[Tensor]:
        """The regions ``(Ri, 4)`` of each image to look at, in pixels of the network's input."""
        if self.rpn is not None:
            return self.rpn.decode(proposed, batch.sizes, for_training)
        boxes = [self.proposals(image).to(batch.images.device) for image in images]
        return [
            scaled_boxes(of_image, given, size)
            for of_image, given, size in zip(boxes, batch.given_sizes, batch.sizes, strict=True)
        ]

    def _box_losses(
        self, features: list[Tensor], proposals: list[Tensor], targets: Sequence[Target]
    ) -> tuple[dict[str, Tensor], list[SampledRegions]]:
        """The losses of the box head, and the regions that it and the branches learn from."""
        regions = [self.region_sampler(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
        crops = self._crop(features, [sampled.boxes for sampled in regions])
        return self.box_head.losses(self.box_head(crops), regions), regions

    def _detected(
        self, features: list[Tensor], proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        """What the box head finds in the proposals, in pixels of the network's input."""
        return self.box_head.decode(self.box_head(self._crop(features, proposals)), proposals, image_sizes)

    def _crop(self, features: list[Tensor], regions: Sequence[Tensor], resolution: int | None = None) -> Tensor:
        maps = [features[level] for level in self._pooled]
        return self.region_pool(maps, self._pooled_strides, regions, resolution)
