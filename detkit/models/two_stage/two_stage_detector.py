"""Two-stage detectors: propose regions, crop them, answer questions about each crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.errors import InputError
from detkit.heads import RPN, Candidates, Context, RegionBranch, Regions, RegionSampler
from detkit.heads.dense.rpn import RPNOutput
from detkit.models.asked import check_fields
from detkit.models.detector import Detector
from detkit.models.two_stage.region_pool import Crops, RegionPool
from detkit.necks import Neck
from detkit.preprocess import Batch, Preprocess
from detkit.proposals import Proposals
from detkit.structures import Detections, Target

Raw = tuple[list[Tensor], RPNOutput | None]


class TwoStageDetector(Detector):
    """Where regions come from, what is cropped, and what is asked of a crop, as three parts that fit together.

        images -> backbone -> neck -+-> rpn -> regions      (or images -> proposals -> regions)
                                    |             |
                                    +----> region_pool -> box_head -> detections
                                    |                                     |
                                    +----> region_pool -> branches -> masks, keypoints, ...

    Args:
        num_classes: classes without background.
        preprocess: resizes, normalizes and pads.
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
        branches: Mapping[str, RegionBranch] | None = None,
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
        self.branches: Mapping[str, RegionBranch] = nn.ModuleDict(branches or {})  # type: ignore[assignment]
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
        check_fields(self)

    def features(self, batch: Batch) -> list[Tensor]:
        """The pyramid ``(B, C, Hi, Wi)``, finest first."""
        return self.neck(self.backbone(batch.images))

    def heads(self, features: list[Tensor], context: Context) -> Raw:
        """The pyramid, from which regions are cropped later, and the RPN's output on it if there is one."""
        return features, None if self.rpn is None else self.rpn(features, context)

    def losses(self, raw: Raw, context: Context) -> dict[str, Tensor]:
        """The losses of proposing regions and of answering about a sample of them."""
        features, proposed = raw
        crop = self.crops(features)
        proposals = self.regions(proposed, context)
        losses = {} if self.rpn is None or proposed is None else self.rpn.losses(proposed, context)
        regions = self.region_sampler(proposals, context)
        losses |= self.box_head.losses(self.box_head(crop, regions, {}, context), regions, {}, context)
        if not self.branches:
            return losses
        regions = regions.foreground()
        so_far: dict[str, Any] = {}
        for name, branch in self.branches.items():
            of_branch = branch(crop, regions, so_far, context)
            losses |= branch.losses(of_branch, regions, so_far, context)
            so_far = so_far | {name: of_branch}
        return losses

    def decode(self, raw: Raw, context: Context) -> list[Detections]:  # type: ignore[override]
        """What the box branch finds in the proposed regions, and what the others add to it, whatever the targets."""
        features, proposed = raw
        context = replace(context, targets=None)
        crop = self.crops(features)
        regions = self.regions(proposed, context)
        detections = self.box_head.decode(self.box_head(crop, regions, {}, context), regions, {}, None, context)
        if not self.branches:
            return detections
        regions = _detected(detections, context)
        so_far: dict[str, Any] = {}
        for name, branch in self.branches.items():
            of_branch = branch(crop, regions, so_far, context)
            detections = branch.decode(of_branch, regions, so_far, detections, context)
            so_far = so_far | {name: of_branch}
        return detections

    def candidates(self, raw: Raw, context: Context) -> Candidates:
        """The box branch's, of the regions that detection looks at, whatever the targets; those do not move with what
        the RPN says. Where to look is asked of ``rpn.candidates(raw[1], context)``."""
        output, regions, context = self._boxes(raw, context)
        return self.box_head.candidates(output, regions, {}, context)

    @torch.no_grad()
    def assign(self, raw: Raw, context: Context) -> Tensor:
        """Which object each candidate is to find ``(N,)``, by the IoU of its region; see `DenseHead.assign`."""
        output, regions, _ = self._boxes(raw, context)
        labeled = self.region_sampler.labeled(regions, context)
        return self.box_head.assign(output, labeled, {}, context)

    def _boxes(self, raw: Raw, context: Context) -> tuple[Any, Regions, Context]:
        """What the box branch says in detection, of which regions, and in which context."""
        features, proposed = raw
        context = replace(context, targets=None)
        regions = self.regions(proposed, context)
        return self.box_head(self.crops(features), regions, {}, context), regions, context

    def regions(self, proposed: RPNOutput | None, context: Context) -> Regions:
        """Where to look: what the RPN proposes, or what is given.

        Raises:
            InputError: an image is given without proposals.
        """
        if self.rpn is not None and proposed is not None:
            return self.rpn.propose(proposed, context)
        images = context.batch.images
        if context.given is None:
            raise InputError(
                "regions come with the images here: call model.context(images, given=[Target(proposals=…)])"
            )
        for index, of_image in enumerate(context.given):
            if of_image.proposals is None:
                raise InputError(f"given[{index}], image id {of_image.image_id}: proposals is missing")
        return Regions.of_images([of_image.proposals for of_image in context.given], device=images.device)

    def crops(self, features: Sequence[Tensor]) -> Crops:
        """Cuts regions out of the levels of the pyramid that are cropped from."""
        return Crops(self.region_pool, [features[level] for level in self._pooled], self._pooled_strides)

    def context(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> Context:
        """The batch of `images`, with proposals found in those that are given without."""
        if self.proposals is not None:
            known = [Target()] * len(images) if given is None else given
            given = [
                of_image if of_image.proposals is not None else replace(of_image, proposals=self.proposals(image))
                for image, of_image in zip(images, known, strict=True)
            ]
        return super().context(images, targets, given, generator)


def _detected(detections: Sequence[Detections], context: Context) -> Regions:
    """The boxes of `detections`, in the network's frame, with their labels."""
    placements = context.batch.placements
    boxes = [place.boxes(found.boxes) for place, found in zip(placements, detections, strict=True)]
    return Regions.of_images(boxes, [found.labels for found in detections])
