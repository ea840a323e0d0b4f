"""Why some detections have no partner: another score threshold, suppression or number of detections."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch

from detkit.ops import box_iou
from detkit.structures import Detections

NEAR = 2e-3
"""A score this near to the lowest one, and an IoU this near to the greatest one, lie at the threshold."""
_MOST = 0.9  # of the detections without a partner that a cause must explain
_NEARLY_ALL = 0.95
_SOME = 0.3  # where others follow from it: what is suppressed makes room


@dataclass(frozen=True)
class Lone:
    """A detection without a partner.

    Args:
        words: class, score and box.
        score: of it.
        overlap: its greatest IoU with a better detection of its class, in the other answer.
        overlap_of_others: its greatest IoU with a better detection of another class, in the other answer.
        own_overlap: its greatest IoU with a better detection of its class, in its own answer.
        least: the lowest score of its image in the other answer; None where that is empty.
        count: the number of detections of its image in the other answer.
    """

    words: str
    score: float
    overlap: float
    overlap_of_others: float
    own_overlap: float
    least: float | None
    count: int

    @classmethod
    def of(cls, words: str, own: Detections, row: int, other: Detections, near: float) -> Lone:
        """The detection at `row` of `own`."""
        box, score, label = own.boxes[row : row + 1], own.scores[row], own.labels[row]
        ious = box_iou(box, other.boxes)[0]
        better, same = other.scores >= score - near, other.labels == label
        among = box_iou(box, own.boxes[:row])[0][own.labels[:row] == label]
        least = float(other.scores.min()) if len(other) else None
        overlaps = (_greatest(ious[better & same]), _greatest(ious[better & ~same]), _greatest(among))
        return cls(words, float(score), *overlaps, least, len(other))


@dataclass
class Side:
    """What is known of all answers of one side.

    Args:
        lowest: the lowest score; infinite before there is one.
        overlaps: of each detection of an image the greatest IoU with a better one of its class.
        most: the most detections of an image.
        detections: all of them.
        lone: those without a partner.
    """

    lowest: float = float("inf")
    overlaps: list[torch.Tensor] = field(default_factory=list)
    most: int = 0
    detections: int = 0
    lone: list[Lone] = field(default_factory=list)

    def add(self, answer: Detections, lone: list[Lone]) -> None:
        """Count an image."""
        self.lone += lone
        self.detections += len(answer)
        self.most = max(self.most, len(answer))
        if not len(answer):
            return
        self.lowest = min(self.lowest, float(answer.scores.min()))
        ious = box_iou(answer.boxes, answer.boxes).triu(diagonal=1)
        ious[answer.labels[:, None] != answer.labels[None]] = 0
        self.overlaps.append(ious.amax(dim=0))

    @cached_property
    def overlap(self) -> float:
        """What nearly all overlaps of detections of one class are below; those cut at the border of an image, all."""
        return float(torch.cat(self.overlaps).quantile(_NEARLY_ALL)) if self.overlaps else 0.0


def is_borderline(lone: Lone, own: Side, other: Side, near: float) -> bool:
    """Whether rounding can decide whether a detection is kept: its score or overlap is at a threshold, or it is the
    last of its image. Without any detection on the other side, nothing says where a threshold is."""
    if not other.detections:
        return False
    at_score = lone.score <= own.lowest + near
    at_overlap = own.overlap > 0 and min(lone.overlap, lone.own_overlap) >= own.overlap - near
    is_last = lone.count == other.most and lone.least is not None and abs(lone.score - lone.least) <= near
    return at_score or at_overlap or is_last


def count_causes(expected: Side, given: Side, near: float) -> list[str]:
    """Sentences on detections without a partner: of the checkpoint alone, then of the file alone."""
    lost = _causes(expected, given, "the checkpoint", "the file", near)
    return lost + _causes(given, expected, "the file", "the checkpoint", near)


def _causes(more: Side, less: Side, whose: str, other: str, near: float) -> list[str]:
    lone = [one for one in more.lone if not is_borderline(one, more, less, near)]
    if not lone:
        return []
    if not less.detections:
        return [f"{other} finds nothing in any image, {whose} has {more.detections} detections"]
    is_last = [one.count == less.most and one.least is not None and one.score <= one.least + near for one in lone]
    # At a limit no image with fewer detections lacks one; at a threshold all scores above it are there.
    has_room = any(one.count < less.most for one in lone)
    if has_room and less.lowest > more.lowest + near and _share(one.score < less.lowest + near for one in lone):
        return [
            f"the score threshold differs: {other} gives no score below {less.lowest:.3f}, {whose} goes down to "
            f"{more.lowest:.3f}"
        ]
    overlapping = [max(one.overlap, one.own_overlap) > less.overlap for one in lone]
    if more.overlap > less.overlap + 0.02 and sum(overlapping) >= _SOME * len(lone):
        return [
            f"suppression differs: in {whose} detections of one class overlap by an IoU of up to {more.overlap:.2f}, "
            f"in {other} by {less.overlap:.2f}"
        ]
    if less.most < more.most and _share(is_last):
        return [f"the number of detections differs: {other} gives at most {less.most} in an image, {whose} {more.most}"]
    if _share(one.overlap_of_others > max(0.3, less.overlap - 0.01) for one in lone):
        return [
            f"suppression differs: {other} lacks detections that overlap with a better one of another class, as if it "
            "suppressed all classes together"
        ]
    return []


def _share(flags: Any) -> bool:
    known = list(flags)
    return sum(known) >= _MOST * len(known)


def _greatest(values: torch.Tensor) -> float:
    return float(values.max()) if len(values) else 0.0
