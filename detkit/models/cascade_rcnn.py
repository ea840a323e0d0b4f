"""Cascade R-CNN (Cai & Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from detkit.backbones import Backbone
from detkit.boxes import clip_boxes
from detkit.heads import BoxHead
from detkit.matching import Matcher, SampledRegions
from detkit.models.faster_rcnn import FasterRCNN
from detkit.structures import Detections, Target

ClassAgnosticBoxHead = partial(BoxHead, class_agnostic=True)


class CascadeRCNN(FasterRCNN):
    """Faster R-CNN whose box head is a chain: each looks at the boxes of the one before, and is stricter about them.

        proposals -> head 1 (IoU 0.5) -> boxes -> head 2 (0.6) -> boxes -> head 3 (0.7) -> boxes

    Args:
        backbone: the trunk.
        num_classes: classes without background.
        box_head: called once for each stage with a crop's channels, its resolution and the number of classes.
        stage_ious: the IoU from which on a region is an object, of each stage.
        stage_weights: factor of the losses of each stage.
        loss_weights: factor of each named loss; the stages' are ``box_cls_1``, ``box_reg_1``, ``box_cls_2`` ...
        arguments: as of `FasterRCNN`.
    """

    def __init__(
        self,
        backbone: Backbone,
        num_classes: int,
        box_head: Callable[[int, int, int], BoxHead] = ClassAgnosticBoxHead,
        stage_ious: Sequence[float] = (0.5, 0.6, 0.7),
        stage_weights: Sequence[float] = (1.0, 0.5, 0.25),
        loss_weights: Mapping[str, float] | None = None,
        **arguments: Any,
    ) -> None:
        heads: list[BoxHead] = []

        def all_heads(channels: int, resolution: int, classes: int) -> nn.ModuleList:
            heads.extend(box_head(channels, resolution, classes) for _ in stage_ious)
            return nn.ModuleList(heads)

        of_stages = {
            f"{name}_{stage}": weight
            for stage, weight in enumerate(stage_weights, 1)
            for name in ("box_cls", "box_reg")
        }
        super().__init__(
            backbone, num_classes, box_head=all_heads, loss_weights=of_stages | dict(loss_weights or {}), **arguments
        )
        # The later a stage, the smaller its corrections: they are scaled to the same spread.
        for stage, head in enumerate(heads, 1):
            head.coder.weights = tuple(stage * weight for weight in head.coder.weights)
        self._samplers = [replace(self.region_sampler, matcher=Matcher(iou, iou)) for iou in stage_ious]

    def _box_losses(
        self, features: list[Tensor], proposals: list[Tensor], targets: Sequence[Target]
    ) -> tuple[dict[str, Tensor], list[SampledRegions]]:
        losses, first = {}, None
        for stage, (head, sampler) in enumerate(zip(self.box_head, self._samplers, strict=True), 1):
            # After the first stage all its boxes go on: resampled by the next, stricter IoU (section 4.2).
            regions = [sampler(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
            first = first or regions
            boxes = [sampled.boxes for sampled in regions]
            raw = head(self._crop(features, boxes))
            losses |= {f"{name}_{stage}": loss for name, loss in head.losses(raw, regions).items()}
            proposals = self._refined(head, raw, boxes, None)
        return losses, first

    def _detected(
        self, features: list[Tensor], proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]
    ) -> list[Detections]:
        scores = []
        for head in self.box_head:
            raw = head(self._crop(features, proposals))
            scores.append(head.scores(raw))
            before, proposals = proposals, self._refined(head, raw, proposals, image_sizes)
        # The boxes are the last stage's, the scores the mean of all (section 4.2; the authors' code).
        return head.select(torch.stack(scores).mean(dim=0), head.boxes(raw, before), before, image_sizes)

    @torch.no_grad()
    def _refined(
        self,
        head: BoxHead,
        raw: Any,
        proposals: list[Tensor],
        image_sizes: Sequence[tuple[int, int]] | None,
    ) -> list[Tensor]:
        """The boxes of one stage as the regions of the next: of the likeliest class, if each has its own."""
        boxes = head.boxes(raw, proposals)
        likeliest = head.scores(raw).argmax(dim=1) if boxes.shape[1] > 1 else boxes.new_zeros(len(boxes)).long()
        chosen = boxes[torch.arange(len(boxes), device=boxes.device), likeliest]
        split = chosen.split([len(of_image) for of_image in proposals])
        if image_sizes is None:
            return [of_image[(of_image[:, 2:] > of_image[:, :2]).all(dim=1)] for of_image in split]
        return [clip_boxes(of_image, size) for of_image, size in zip(split, image_sizes, strict=True)]
