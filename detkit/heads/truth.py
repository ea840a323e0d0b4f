"""The objects of a whole batch, and which of them each of a head's candidates answers for.

Rows number the objects of all images in turn, crowd and ignore regions left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.boxes import coverage
from detkit.matching import BACKGROUND, FOREGROUND
from detkit.structures import Target

NO_OBJECT, NOT_LEARNED = -1, -2  # in place of a row: background, and what is neither
IGNORE_COVERAGE = 0.5  # the share of a prediction inside a crowd from which on it is not background


class Objects(NamedTuple):
    """The objects of a batch.

    Args:
        boxes: ``(T, 4)`` in the network's frame.
        labels: ``(T,)`` int64.
    """

    boxes: Tensor
    labels: Tensor


def objects_of(targets: Sequence[Target], device: torch.device) -> Objects:
    """The objects of all images in turn."""
    objects = [target.objects() for target in annotated(targets, device)]
    return Objects(torch.cat([one.boxes for one in objects]), torch.cat([one.labels for one in objects]))


def annotated(targets: Sequence[Target], device: torch.device) -> list[Target]:
    """`targets`, an empty one in place of each whose boxes are not annotated."""
    return [Target.empty().to(device) if target.boxes is None else target for target in targets]


def objects_before(targets: Sequence[Target]) -> list[int]:
    """Of each image the number of objects in those before it, which is the row of its first one."""
    counts = [_count_objects(target) for target in targets]
    return [end - count for count, end in zip(counts, accumulate(counts), strict=True)]


def count_annotated(targets: Sequence[Target]) -> int:
    """How many images have annotated boxes; losses are means over these, so at least 1."""
    return max(1, sum(target.boxes is not None for target in targets))


def assigned(
    targets: Sequence[Target], match: Callable[[Target], tuple[Tensor, Tensor]], device: torch.device
) -> Tensor:
    """The row of the object that each candidate is to find ``(B, P)``, `NO_OBJECT` or `NOT_LEARNED`.

    Args:
        targets: ground truth of each image; one whose boxes are not annotated teaches nothing.
        match: from a target to each candidate's object among ``target.objects()`` and its state, both ``(P,)`` int64,
            as of `detkit.matching.Matcher`.
        device: that of the candidates.
    """
    rows, before = [], 0
    for target, given in zip(annotated(targets, device), targets, strict=True):
        indices, states = match(target)
        others = torch.where(states == BACKGROUND, NO_OBJECT, NOT_LEARNED)
        if given.boxes is None:
            others = torch.full_like(others, NOT_LEARNED)
        rows.append(torch.where(states == FOREGROUND, indices + before, others))
        before += len(target.objects())
    return torch.stack(rows)


def of_batch(images: int, each: int, device: torch.device) -> Tensor:
    """The image of each of ``images * each`` candidates, images in turn."""
    return torch.arange(images, device=device).repeat_interleave(each)


def crowds(target: Target) -> Tensor:
    """Which of a target's boxes are crowd or ignore regions, bool ``(N,)``."""
    return torch.zeros_like(target.labels, dtype=torch.bool) if target.iscrowd is None else target.iscrowd


def in_crowd(boxes: Tensor, target: Target) -> Tensor:
    """Which of `boxes` ``(R, 4)`` lie mostly in a crowd or ignore region, where there is no background to learn."""
    if target.iscrowd is None or len(target) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return ((coverage(boxes, target.boxes) >= IGNORE_COVERAGE) & target.iscrowd).any(dim=1)


def _count_objects(target: Target) -> int:
    if target.boxes is None:
        return 0
    return len(target.boxes) if target.iscrowd is None else int((~target.iscrowd).sum())
