"""Two-stage detectors: propose regions, crop them, answer questions about each crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.errors import InputError
from detkit.heads import RPN, InstanceBranch, RegionBranch
from detkit.heads.context import Context
from detkit.heads.rpn import RPNOutput
from detkit.matching import RegionSampler, SampledRegions
from detkit.models.detector import Detector
from detkit.models.region_pool import RegionPool
from detkit.necks import Neck
from detkit.preprocess import Batch, Preprocess
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
        proposals: finds regions in an image, without learning. Without an `rpn` and this they must be given with each
            image: ``model(images, given=[Target(proposals=boxes), ...])``.
        region_sampler: draws the regions that are trained on.
        region_pool: crops regions from the pyramid.
        box_head: classifies and refines them.
        branches: by name, what else is asked of an object that was found.
        loss_weights: factor of each named loss; those not named count once.

    Raises:
        InputError: the pyramid has no level of the trunk's strides to crop from, or both `rpn` and
            `proposals` are given.
    """

    def __init__(
        self,
        num_classes: int,
        preprocess: Preprocess,
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
        if rpn is not None and proposals is not None:
            raise InputError("regions come either from an rpn or from proposals: give one of them")
        self.preprocess = preprocess
        self.backbone = backbone
        self.neck = neck if neck is not None else nn.Identity()
        self.asks_for = frozenset() if rpn is not None or proposals is not None else frozenset({"proposals"})
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

    def features(self, batch: Batch) -> list[Tensor]:
        """The pyramid ``(B, C, Hi, Wi)``, finest first."""
        return self.neck(self.backbone(batch.images))

    def heads(self, features: list[Tensor], context: Context) -> tuple[list[Tensor], RPNOutput | None]:
        """The pyramid, from which regions are cropped later, and the RPN's output on it if there is one."""
        return features, self.rpn(features, context.batch.padded_size) if self.rpn is not None else None

    def compute_losses(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target],
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """The losses of proposing regions and of answering about a sample of them."""
        return super().compute_losses(images, targets, self._proposed(images, given), generator)

    def detect(self, images: Sequence[Tensor], given: Sequence[Target] | None = None) -> list[Detections]:
        """Propose, crop, answer; in pixels of the images as given."""
        return super().detect(images, self._proposed(images, given))

    def losses(self, raw: tuple[list[Tensor], RPNOutput | None], context: Context) -> dict[str, Tensor]:
        """The losses of proposing regions and of answering about a sample of them."""
        features, proposed = raw
        targets, batch = context.targets, context.batch
        proposals = self._propose(proposed, context)
        losses = self.rpn.losses(proposed, targets) if self.rpn is not None else {}
        box_losses, regions = self._box_losses(features, proposals, targets)
        losses |= box_losses
        foreground = [sampled.foreground() for sampled in regions]
        for branch in self.branches.values():
            crops = self._crop(features, [sampled.boxes for sampled in foreground], branch.resolution)
            losses |= branch.losses(branch(crops), foreground, targets, batch.placements)
        return losses

    def decode(self, raw: tuple[list[Tensor], RPNOutput | None], context: Context) -> list[Detections]:
        """Propose, crop, answer; in pixels of the images as given."""
        features, proposed = raw
        batch = context.batch
        found = self._detected(features, self._propose(proposed, context), batch.sizes)
        detections = self.preprocess.restore(found, batch)
        boxes = [placement.boxes(found.boxes) for placement, found in zip(batch.placements, detections, strict=True)]
        for branch in self.branches.values():
            crops = self._crop(features, boxes, branch.resolution)
            detections = branch.decode(branch(crops), boxes, detections, batch.placements)
        return detections

    def _proposed(self, images: Sequence[Tensor], given: Sequence[Target] | None) -> Sequence[Target] | None:
        """What is given, with proposals found in the images where it has none."""
        if self.proposals is None:
            return given
        known = [None] * len(images) if given is None else [of_image.proposals for of_image in given]
        return [
            Target(proposals=self.proposals(image) if boxes is None else boxes)
            for image, boxes in zip(images, known, strict=True)
        ]

    def _propose(self, proposed: RPNOutput | None, context: Context) -> list[Tensor]:
        """The regions ``(Ri, 4)`` of each image to look at, in pixels of the network's input."""
        if self.rpn is not None:
            return self.rpn.decode(proposed, context.batch.sizes, for_training=context.targets is not None)
        return [of_image.proposals for of_image in context.given]

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
