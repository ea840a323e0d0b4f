"""Merging of overlapping boxes, OverFeat's alternative to suppression."""

from __future__ import annotations

from typing import Any, Self

import torch
from torch import Tensor

from detkit.boxes import box_area
from detkit.heads.postprocess import Postprocess
from detkit.heads.scored_boxes import ScoredBoxes


class MergeBoxes(Postprocess):
    """Merges matching boxes of a class into one (OverFeat, section 4.3), see `merge_boxes`.

    The accumulated scores ``s`` are unbounded; ``1 - exp(-s)`` keeps their order and is at most 1. Boxes smaller than a
    pixel are dropped.

    Args:
        score_threshold: scores must be greater than this; None, here and below, is the head's own.
        match_threshold: boxes with a greater `match_score` are not merged.
        candidates: most boxes of each image that are merged, the highest-scoring ones.
        detections: most detections of an image.
    """

    def __init__(
        self,
        score_threshold: float | None = None,
        match_threshold: float = 0.5,
        candidates: int = 300,
        detections: int | None = None,
    ) -> None:
        super().__init__(score_threshold, candidates, detections)
        self.match_threshold = match_threshold

    def with_defaults(self, *numbers: Any, **way: Any) -> Self:
        """As of `Postprocess`, for boxes of at least a pixel: boxes without area match none."""
        return super().with_defaults(*numbers, **way | {"least_side": 1.0})

    def resolve(self, scored: ScoredBoxes, images: int) -> ScoredBoxes:
        """The merged boxes of each image, best first."""
        parts = []
        for image in range(images):
            per_image = scored.take(torch.where(scored.image_index == image)[0])
            best = per_image.take(per_image.scores.argsort(descending=True, stable=True))
            boxes, confidence, labels = merge_boxes(best.boxes, best.scores, best.labels, self.match_threshold)
            parts.append(ScoredBoxes(boxes, -torch.expm1(-confidence), labels, torch.full_like(labels, image)))
        return ScoredBoxes(*(torch.cat(part) for part in zip(*parts, strict=True)))


def match_score(boxes1: Tensor, boxes2: Tensor) -> Tensor:
    """How badly two boxes match, 0 for equal ones (OverFeat, section 4.3); float32.

    The paper adds the distance of the centers and the intersection area, but does not give units or signs. Here the
    distance is divided by the mean side of the boxes, and one minus the share of the intersection in the mean area is
    added: the score does not depend on the size of the image, and disjoint boxes have more than 1.

    Args:
        boxes1: ``(..., 4)``, of positive size.
        boxes2: ``(..., 4)``, broadcast against `boxes1`.
    """
    boxes1, boxes2 = boxes1.float(), boxes2.float()
    distance = torch.linalg.vector_norm(_centers(boxes1) - _centers(boxes2), dim=-1)
    mean_side = (_sides(boxes1) + _sides(boxes2)).mean(dim=-1) / 2
    overlap = torch.minimum(boxes1[..., 2:], boxes2[..., 2:]) - torch.maximum(boxes1[..., :2], boxes2[..., :2])
    mean_area = (box_area(boxes1) + box_area(boxes2)) / 2
    mismatch: Tensor = distance / mean_side + 1 - overlap.clamp(min=0).prod(dim=-1) / mean_area
    return mismatch


@torch.no_grad()
def merge_boxes(boxes: Tensor, scores: Tensor, labels: Tensor, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Merge the two best matching boxes of a class until no two match (OverFeat, section 4.3).

    The merged box has the mean of both boxes' coordinates and the sum of their scores, the evidence of all windows that
    agree on it. Each step merges one pair; of pairs that match equally well, the first in the order of the boxes.

    Args:
        boxes: ``(N, 4)``, of positive size.
        scores: ``(N,)``, not negative.
        labels: ``(N,)``; boxes of different labels never match.
        threshold: the `match_score` above which boxes are not merged.

    Returns:
        Boxes ``(M, 4)``, accumulated scores ``(M,)`` and labels ``(M,)``, greatest score first, float32.
    """
    boxes, scores = boxes.float().clone(), scores.float().clone()
    alive = torch.ones_like(labels, dtype=torch.bool)
    mismatch = match_score(boxes[:, None], boxes[None])
    same_class = labels[:, None] == labels
    mismatch[~same_class.triu(diagonal=1)] = torch.inf
    for _ in range(len(boxes) - 1):
        pair = mismatch.argmin()
        first, second = pair // len(boxes), pair % len(boxes)
        if mismatch.flatten()[pair] > threshold:  # waits for the device once per step, but ends most runs early
            break
        boxes[first] = (boxes[first] + boxes[second]) / 2
        scores[first] += scores[second]
        alive[second] = False
        mismatch[second], mismatch[:, second] = torch.inf, torch.inf
        again = match_score(boxes[first], boxes).masked_fill(~(alive & same_class[first]), torch.inf)
        order = torch.arange(len(boxes), device=boxes.device)
        mismatch[first] = again.masked_fill(order <= first, torch.inf)
        mismatch[:, first] = again.masked_fill(order >= first, torch.inf)
    kept = torch.where(alive)[0]
    kept = kept[scores[kept].argsort(descending=True, stable=True)]
    return boxes[kept], scores[kept], labels[kept]


def _centers(boxes: Tensor) -> Tensor:
    return (boxes[..., :2] + boxes[..., 2:]) / 2


def _sides(boxes: Tensor) -> Tensor:
    return boxes[..., 2:] - boxes[..., :2]
