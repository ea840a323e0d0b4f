"""Two-stage detectors: propose regions, crop them, classify and refine each crop."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.errors import InputError
from detkit.geometry import move_boxes
from detkit.heads import RPN, Candidates, Context, RegionBranch, Regions, RegionSampler
from detkit.heads.dense.rpn import RPNOutput
from detkit.heads.raw_outputs import note
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.models.detector import Detector
from detkit.models.required_fields import check_fields
from detkit.models.two_stage.region_pool import Crops, RegionPool
from detkit.necks import Neck
from detkit.preprocess import Batch, Preprocess
from detkit.proposals import Proposals
from detkit.structures import Detections, Target

Raw = tuple[list[Tensor], RPNOutput | None]


class TwoStageDetector(Detector):
    """A detector of three parts: where regions come from, how they are cropped, and the branches on the crops.
        images -> backbone -> neck -+-> rpn -> regions      (or images -> proposals -> regions)
                                    |             |
                                    +----> region_pool -> box_head -> detections
                                    |                                     |
                                    +----> region_pool -> branches -> masks, keypoints, ...

    Args:
        num_classes: classes without background.
        preprocess: resizes, normalizes and pads.
        backbone: makes the feature maps.
        neck: makes the pyramid; None passes the backbone's maps on.
        rpn: proposes regions and is trained; None if `proposals` does.
        proposals: proposes regions of an image and is not trained. Without an `rpn` and this they must be given with
            each image: ``model(images, given=[Target(proposals=boxes), ...])``.
        region_sampler: samples the regions for training.
        region_pool: crops regions from the pyramid.
        box_head: classifies and refines the regions.
        branches: further predictions for each detected object, by name.
        loss_weights: factor of each named loss; 1 where not named.

    Raises:
        InputError: no level of the pyramid has a stride of the backbone, or both `rpn` and `proposals` are given.
    """

    neck: nn.Module

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
        # torch does not declare ModuleDict a Mapping.
        self.branches: Mapping[str, RegionBranch] = nn.ModuleDict(branches or {})  # type: ignore[assignment]
        self.loss_weights = dict(loss_weights or {})
        strides = (neck or backbone).strides
        # Coarser levels that the neck adds (P6) are for large anchors only. Crops come from levels that the backbone
        # has, and from the first of several with the same stride.
        self._pooled = [
            level
            for level, stride in enumerate(strides)
            if stride in backbone.strides and stride not in strides[:level]
        ]
        self._pooled_strides = [strides[level] for level in self._pooled]
        if not self._pooled:
            raise InputError(f"no level to crop from: the neck has strides {strides}, the backbone {backbone.strides}")
        check_fields(self)

    @property
    def graph_fields(self) -> frozenset[str]:
        """Without an RPN also proposals: those that are computed from the image are not part of a graph."""
        return super().graph_fields | (frozenset({"proposals"}) if self.rpn is None else frozenset())

    def features(self, batch: Batch) -> list[Tensor]:
        """The pyramid ``(B, C, Hi, Wi)``, finest first."""
        maps: list[Tensor] = self.neck(self.backbone(batch.images))
        return maps

    def heads(self, features: list[Tensor], context: Context) -> Raw:
        """The pyramid, from which regions are cropped later, and the RPN's output on it if there is one."""
        return features, None if self.rpn is None else self.rpn(features, context)

    def outputs(self, raw: Raw) -> RPNOutput | None:
        """The output of the RPN; those of the branches are checked as they are made."""
        return raw[1]

    def losses(self, raw: Raw, context: Context) -> dict[str, Tensor]:
        """The losses of the RPN, and those of the branches for a sample of the proposals."""
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
            output = branch(crop, regions, so_far, context)
            losses |= branch.losses(output, regions, so_far, context)
            so_far = so_far | {name: output}
        return losses

    def decode(self, raw: Raw, context: Context) -> list[Detections]:
        """The detections of the box branch, with the predictions of the others; independent of the targets."""
        features, proposed = raw
        context = replace(context, targets=None)
        crop = self.crops(features)
        regions = self.regions(proposed, context)
        boxes = self.box_head(crop, regions, {}, context)
        note("box_head", boxes)
        detections = self.box_head.decode(boxes, regions, {}, None, context)
        if not self.branches:
            return detections
        regions = _detected_regions(detections, context)
        so_far: dict[str, Any] = {}
        for name, branch in self.branches.items():
            output = branch(crop, regions, so_far, context)
            note(f"branches.{name}", output)
            detections = branch.decode(output, regions, so_far, detections, context)
            so_far = so_far | {name: output}
        return detections

    @torch.no_grad()
    def decode_padded(self, raw: Raw, context: Context) -> dict[str, Tensor]:
        """The boxes of the box branch in the network's frame, and what the others predict for them."""
        features, proposed = raw
        context = replace(context, targets=None)
        crop = self.crops(features)
        regions = self.regions(proposed, context)
        detected = self.box_head.decode_padded(self.box_head(crop, regions, {}, context), regions, {}, context)
        assert isinstance(detected, PaddedBoxes), "the box branch makes boxes"
        outputs, regions = detected.outputs(), Regions.of_padded(detected)
        so_far: dict[str, Any] = {}
        for name, branch in self.branches.items():
            output = branch(crop, regions, so_far, context)
            outputs |= branch.decode_padded(output, regions, so_far, context).outputs()
            so_far = so_far | {name: output}
        return outputs

    def candidates(self, raw: Raw, context: Context) -> Candidates:
        """The candidates of the box branch for the regions of inference, independent of the targets.

        They have no gradient through the proposals; those of the RPN are ``rpn.candidates(raw[1], context)``.
        """
        output, regions, context = self._boxes(raw, context)
        return self.box_head.candidates(output, regions, {}, context)

    @torch.no_grad()
    def assign(self, raw: Raw, context: Context) -> Tensor:
        """The object that each candidate is to predict ``(N,)``, by the IoU of its region; see `DenseHead.assign`."""
        output, regions, _ = self._boxes(raw, context)
        labeled = self.region_sampler.labeled(regions, context)
        return self.box_head.assign(output, labeled, {}, context)

    def _boxes(self, raw: Raw, context: Context) -> tuple[Any, Regions, Context]:
        """The output of the box branch at inference, its regions and its context."""
        features, proposed = raw
        context = replace(context, targets=None)
        regions = self.regions(proposed, context)
        return self.box_head(self.crops(features), regions, {}, context), regions, context

    def regions(self, proposed: RPNOutput | None, context: Context) -> Regions:
        """The regions to classify: the proposals of the RPN, or those given with the images.

        Raises:
            InputError: an image is given without proposals.
        """
        if self.rpn is not None and proposed is not None:
            return self.rpn.propose(proposed, context)
        if context.proposals is not None:
            boxes = context.proposals
            return Regions.of_rows_of_images(boxes, (boxes != 0).any(dim=2))
        images = context.batch.images
        if context.given is None:
            raise InputError(
                "this model needs proposals with the images: call model.context(images, given=[Target(proposals=…)])"
            )
        for index, target in enumerate(context.given):
            if target.proposals is None:
                raise InputError(f"given[{index}], image id {target.image_id}: proposals is missing")
        return Regions.of_images([target.proposals for target in context.given], device=images.device)

    def crops(self, features: Sequence[Tensor]) -> Crops:
        """Crops regions from the levels of the pyramid."""
        return Crops(self.region_pool, [features[level] for level in self._pooled], self._pooled_strides)

    def context(
        self,
        images: Sequence[Tensor],
        targets: Sequence[Target] | None = None,
        given: Sequence[Target] | None = None,
        generator: torch.Generator | None = None,
    ) -> Context:
        """The preprocessed batch, with proposals for the images that are given without."""
        if self.proposals is not None:
            known = [Target()] * len(images) if given is None else given
            given = [
                target if target.proposals is not None else replace(target, proposals=self.proposals(image))
                for image, target in zip(images, known, strict=True)
            ]
        return super().context(images, targets, given, generator)


def _detected_regions(detections: Sequence[Detections], context: Context) -> Regions:
    """The boxes of `detections`, in the network's frame, with their labels."""
    counts = [len(per_image) for per_image in detections]
    boxes = move_boxes(torch.cat([one.boxes for one in detections]), counts, context.batch.placements)
    return Regions.of_images(torch.split(boxes, counts), [per_image.labels for per_image in detections])
