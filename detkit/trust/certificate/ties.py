"""How many answers of a model rounding decides: values that are equal where a ranking ends or suppression compares."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from detkit.heads.context import Context
from detkit.models import VisionModel
from detkit.ops import box_iou
from detkit.preprocess import Batch
from detkit.structures import Target

ROUNDING = 1e-5
"""Numbers that differ by less of their size, and overlaps, are equal but for rounding in float32."""

_SUPPRESSIONS = frozenset({"detkit::nms", "detkit::nms_padded", "detkit::batched_nms_padded"})

_PART = 512  # boxes whose overlaps with all others are in memory at a time


@torch.no_grad()
def answers_of_batch(model: VisionModel, batch: Batch, targets: Sequence[Target]) -> list[Any]:
    """The answers of a model to preprocessed images.

    Args:
        model: in evaluation mode.
        batch: the images.
        targets: what the model asks for with each; may be empty if it asks for nothing.
    """
    network = model.folded()
    given = model.preprocess.targets(targets, batch) if model.asks_for else None
    context = Context(batch, given=given)
    return list(network.decode(network.heads(network.features(batch), context), context))


def ties(model: VisionModel, batch: Batch, targets: Sequence[Target], tolerance: float = 1.0) -> int:
    """How often rounding decides which values of a batch go on.

    A ranking may keep the one or the other of equal values at its end, such as those of flat regions, and each runtime
    has its own order. Of two overlapping boxes of equal score suppression keeps one, and of boxes that overlap by
    exactly its threshold both or one. The class of a pixel is one of those with equal logits.

    Args:
        model: in evaluation mode.
        batch: the images.
        targets: what the model asks for with each.
        tolerance: how many times the rounding of float32.
    """
    with TieCounter(ROUNDING * tolerance) as counter:
        answers_of_batch(model, batch, targets)
    return counter.ties


class TieCounter(TorchDispatchMode):
    """Counts ties in what is computed within it.

    Args:
        rounding: of values, of their size.
    """

    def __init__(self, rounding: float) -> None:
        super().__init__()
        self.rounding, self.ties = rounding, 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        if func is torch.ops.aten.topk.default:
            self.ties += self._at_end(args[0], result[0], args[2] if len(args) > 2 else -1)
        elif func is torch.ops.aten.argmax.default and len(args) > 1 and args[0].is_floating_point():
            self.ties += self._of_best(args[0], args[1])
        elif func.name() in _SUPPRESSIONS:
            given = dict(zip((one.name for one in func._schema.arguments), args, strict=False))
            groups = [given.get("labels"), given.get("image_index")]
            self.ties += self._in_suppression(given["boxes"], given["scores"], groups, given["iou_threshold"])
        return result

    def _at_end(self, values: Tensor, best: Tensor, dim: int) -> int:
        """Values that could stand in for those at the end of a ranking."""
        if not best.shape[dim] or best.shape[dim] == values.shape[dim] or not values.is_floating_point():
            return 0
        least = best.amin(dim=dim, keepdim=True)
        limit = self.rounding * least.abs().clamp(min=0.1)
        near = ((values - least).abs() <= limit) & least.isfinite()
        inside = ((best - least).abs() <= limit) & least.isfinite()
        kept = inside.sum(dim=dim)
        return int(torch.minimum(kept, near.sum(dim=dim) - kept).sum())

    def _of_best(self, values: Tensor, dim: int) -> int:
        """Places where another value is as good as the best."""
        if values.shape[dim] < 2:
            return 0
        best, next_best = values.topk(2, dim=dim).values.unbind(dim)
        return int((best - next_best <= self.rounding * best.abs().clamp(min=0.1)).sum())

    def _in_suppression(self, boxes: Tensor, scores: Tensor, groups: Sequence[Tensor | None], threshold: float) -> int:
        """Pairs of boxes of one class that overlap by the threshold, or by more and have equal scores."""
        found = 0
        for start in range(0, len(boxes), _PART):
            rows = slice(start, start + _PART)
            overlaps = box_iou(boxes[rows], boxes)
            is_near = (overlaps - threshold).abs() <= self.rounding
            apart = (scores[rows, None] - scores[None]).abs()
            is_equal = (overlaps > threshold) & (apart <= self.rounding * scores[None].abs())
            pairs = is_near | is_equal
            for group in groups:
                if group is not None:
                    pairs &= (group[rows, None] == group[None]) & (group[None] >= 0)
            found += int(pairs.triu(diagonal=start + 1).sum())
        return found
