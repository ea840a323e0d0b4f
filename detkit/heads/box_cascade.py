"""Box heads in a chain, each stricter than the one before (Cai & Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from detkit.boxes import clip_boxes
from detkit.heads.box import BoxHead, BoxOutput
from detkit.matching import Matcher, RegionSampler, SampledRegions
from detkit.structures import Detections, Target

Crop = Callable[[list[Tensor]], Tensor]


class BoxCascade(nn.Module):
    """Each head looks at the boxes of the one before (Cascade R-CNN, section 4).

    As regions move from head to head, what is cropped is asked for: `crop` is called with the regions ``(Ri, 4)`` of
    each image and gives their crops ``(R, C, resolution, resolution)``.

    Args:
        in_channels: channels of a crop.
        resolution: height and width of a crop in cells.
        num_classes: classes without background.
        box_head: called once for each stage with these three.
        ious: the IoU from which on a region is an object, of each stage.
    """

    def __init__(
        self,
        in_channels: int,
        resolution: int,
        num_classes: int,
        box_head: Callable[[int, int, int], BoxHead],
        ious: Sequence[float],
    ) -> None:
        super().__init__()
        self.stages = nn.ModuleList(box_head(in_channels, resolution, num_classes) for _ in ious)
        self.ious = tuple(ious)
        # The later a stage, the smaller its corrections: they are scaled to the same spread.
        for stage, head in enumerate(self.stages, 1):
            head.coder.weights = tuple(stage * weight for weight in head.coder.weights)

    def losses(
        self, crop: Crop, proposals: list[Tensor], targets: Sequence[Target], region_sampler: RegionSampler
    ) -> tuple[dict[str, Tensor], list[SampledRegions]]:
        """``box_cls_1``, ``box_reg_1``, ``box_cls_2`` ..., and the regions that the first stage learns from."""
        losses, first = {}, None
        for stage, (head, iou) in enumerate(zip(self.stages, self.ious, strict=True), 1):
            # After the first stage all its boxes go on: resampled by the next, stricter IoU (section 4.2).
            sampler = replace(region_sampler, matcher=Matcher(iou, iou))
            regions = [sampler(boxes, target) for boxes, target in zip(proposals, targets, strict=True)]
            first = first or regions
            boxes = [sampled.boxes for sampled in regions]
            raw = head(crop(boxes))
            losses |= {f"{name}_{stage}": loss for name, loss in head.losses(raw, regions).items()}
            moved = _moved(head, raw, boxes)
            proposals = [of_image[(of_image[:, 2:] > of_image[:, :2]).all(dim=1)] for of_image in moved]
        return losses, first

    def decode(self, crop: Crop, proposals: list[Tensor], image_sizes: Sequence[tuple[int, int]]) -> list[Detections]:
        """The last stage's boxes, scored by the mean of all stages (section 4.2; the authors' code)."""
        scores = []
        for head in self.stages:
            raw, before = head(crop(proposals)), proposals
            scores.append(head.scores(raw))
            moved = _moved(head, raw, before)
            proposals = [clip_boxes(of_image, size) for of_image, size in zip(moved, image_sizes, strict=True)]
        return head.select(torch.stack(scores).mean(dim=0), head.boxes(raw, before), before, image_sizes)


@torch.no_grad()
def _moved(head: BoxHead, raw: BoxOutput, proposals: list[Tensor]) -> Sequence[Tensor]:
    """The boxes that a stage makes of its regions: of the likeliest class, if each class has its own."""
    boxes = head.boxes(raw, proposals)
    likeliest = head.scores(raw).argmax(dim=1) if boxes.shape[1] > 1 else boxes.new_zeros(len(boxes)).long()
    chosen = boxes[torch.arange(len(boxes), device=boxes.device), likeliest]
    return chosen.split([len(of_image) for of_image in proposals])
