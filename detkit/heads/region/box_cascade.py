"""A cascade of box heads, each trained at a higher IoU than the one before (Cai & Vasconcelos 2018)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.activations import subtract_background
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.region.box import BoxHead, BoxOutput
from detkit.heads.region.region_branch import Crop, RegionBranch
from detkit.heads.region.region_sampler import RegionSampler
from detkit.heads.scored_boxes import PaddedBoxes
from detkit.matching import Matcher
from detkit.structures import Detections


class CascadeOutput(NamedTuple):
    """The outputs of all stages.

    Args:
        stages: the output of each.
        regions: the input regions of each; without targets those of the last one only.
    """

    stages: list[BoxOutput]
    regions: list[Regions]


class BoxCascade(RegionBranch):
    """A chain of box heads, each on the boxes of the one before (Cascade R-CNN, section 4).

    Args:
        in_channels: channels of a crop.
        resolution: height and width of a crop in cells.
        num_classes: classes without background.
        box_head: called with these three, once for each stage.
        ious: least IoU of a foreground region, for each stage; that of the first must be that of the detector's region
            sampler.
        region_sampler: samples the regions of each later stage, with the matcher of the stage.
    """

    def __init__(
        self,
        in_channels: int,
        resolution: int,
        num_classes: int,
        box_head: Callable[[int, int, int], BoxHead],
        ious: Sequence[float],
        region_sampler: RegionSampler = RegionSampler(),  # noqa: B008 (frozen)
    ) -> None:
        super().__init__()
        heads = nn.ModuleList(box_head(in_channels, resolution, num_classes) for _ in ious)
        # torch annotates a ModuleList as one of plain modules.
        self.stages: Sequence[BoxHead] = heads  # type: ignore[assignment]
        self.ious = tuple(ious)
        self.region_sampler = region_sampler
        # Later stages make smaller corrections: greater weights give their deltas the same spread.
        for stage, head in enumerate(self.stages, 1):
            head.coder.weights = tuple(stage * weight for weight in head.coder.weights)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """None of its own: each stage names its own."""
        return {}

    def forward(self, crop: Crop, regions: Regions, so_far: Mapping[str, Any], context: Context) -> CascadeOutput:
        """The output of every stage, each on the boxes that the one before predicted."""
        stages: list[BoxOutput] = []
        inputs: list[Regions] = []
        for head, iou in zip(self.stages, self.ious, strict=True):
            if stages:
                regions = self._next(regions, self.stages[len(stages) - 1], stages[-1], iou, context)
            stages.append(head(crop, regions, so_far, context))
            inputs = [regions] if context.targets is None else [*inputs, regions]
        return CascadeOutput(stages, inputs)

    def losses(
        self, raw: CascadeOutput, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> dict[str, Tensor]:
        """``box_cls_1``, ``box_reg_1``, ``box_cls_2`` ..., of the input regions of each stage."""
        losses: dict[str, Tensor] = {}
        for stage, (head, output, inputs) in enumerate(zip(self.stages, raw.stages, raw.regions, strict=True), 1):
            stage_losses = head.losses(output, inputs, so_far, context)
            losses |= {f"{name}_{stage}": loss for name, loss in stage_losses.items()}
        return losses

    def decode(
        self,
        raw: CascadeOutput,
        regions: Regions,
        so_far: Mapping[str, Any],
        detections: list[Detections] | None,
        context: Context,
    ) -> list[Detections]:
        """The last stage's boxes, scored by the mean of all stages (section 4.2; the authors' code).

        Raises:
            InputError: the output was made for training, where each stage has its own sample of regions.
        """
        return context.batch.restore(self.decode_padded(raw, regions, so_far, context).detections())

    def decode_padded(
        self, raw: CascadeOutput, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> PaddedBoxes:
        """As `decode`, in the network's frame.

        Raises:
            InputError: as of `decode`.
        """
        _check_same_regions(raw)
        scores = [head.scores(output) for head, output in zip(self.stages, raw.stages, strict=True)]
        head, last = self.stages[-1], raw.regions[-1]
        return head.select_padded(torch.stack(scores).mean(dim=0), head.boxes(raw.stages[-1], last), last, context)

    def candidates(
        self, raw: CascadeOutput, regions: Regions, so_far: Mapping[str, Any], context: Context
    ) -> Candidates:
        """The last stage's box of each region's top class, scored by the mean of all stages.

        Raises:
            InputError: as of `decode`.
        """
        _check_same_regions(raw)
        probabilities = torch.stack([output.logits.float().softmax(dim=1) for output in raw.stages]).mean(dim=0)
        last = self.stages[-1].candidates(raw.stages[-1], raw.regions[-1], so_far, context)
        logits = subtract_background(probabilities.clamp(min=torch.finfo(probabilities.dtype).tiny).log())
        boxes = self.stages[-1].boxes_of_top_class(self.stages[-1].boxes(raw.stages[-1], raw.regions[-1]), logits)
        return replace(last, boxes=boxes, logits=logits)

    def assign(self, raw: CascadeOutput, regions: Regions, so_far: Mapping[str, Any], context: Context) -> Tensor:
        """The object that each region of the last stage is to predict ``(R,)``; see `DenseHead.assign`."""
        last = replace(self.region_sampler, matcher=Matcher(self.ious[-1], self.ious[-1]))
        return self.stages[-1].assign(raw.stages[-1], last.labeled(raw.regions[-1], context), so_far, context)

    def _next(self, regions: Regions, head: BoxHead, output: BoxOutput, iou: float, context: Context) -> Regions:
        """The regions of the next stage; in training sampled by its stricter IoU (section 4.2)."""
        refined = _refined(regions, head, output)
        if context.targets is None:
            return refined.clipped(context.batch.sizes)
        sides = refined.boxes[:, 2:] - refined.boxes[:, :2]
        return replace(self.region_sampler, matcher=Matcher(iou, iou))(refined, context, (sides > 0).all(dim=1))


def _check_same_regions(raw: CascadeOutput) -> None:
    if len(raw.regions) != 1:
        raise InputError(
            "this output of the cascade was made for training, where each stage has its own sample of regions: decode "
            "and candidates need the output of a call with a Context without targets"
        )


@torch.no_grad()
def _refined(regions: Regions, head: BoxHead, output: BoxOutput) -> Regions:
    """The boxes that a stage predicts for its regions, of the top class if each class has its own."""
    boxes = head.boxes_of_top_class(head.boxes(output, regions), head.scores(output))
    return Regions(boxes, regions.image_index, counts=regions.counts, is_present=regions.is_present)
