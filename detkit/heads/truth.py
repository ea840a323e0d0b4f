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
from detkit.geometry import Size
from detkit.matching import BACKGROUND, FOREGROUND, IGNORED
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
    counts = [count_objects(target) for target in targets]
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
    rows, states = [], []
    for target, given, before in zip(annotated(targets, device), targets, objects_before(targets), strict=True):
        indices, of_image = match(target)
        rows.append(indices + before if before else indices)
        states.append(of_image if given.boxes is not None else torch.full_like(of_image, IGNORED))
    state = torch.stack(states)
    others = torch.where(state == BACKGROUND, NO_OBJECT, NOT_LEARNED)
    return torch.where(state == FOREGROUND, torch.stack(rows), others)


def of_batch(images: int, each: int, device: torch.device) -> Tensor:
    """The image of each of ``images * each`` candidates, images in turn."""
    return torch.arange(images, device=device).repeat_interleave(each)


def areas_of(sizes: Sequence[Size], image_index: Tensor) -> Tensor | int:
    """The area in pixels of the image of each ``(M,)``, of images of `sizes`; one number where all have the same."""
    areas = [height * width for height, width in sizes]
    if len(set(areas)) == 1:
        return areas[0]
    return torch.tensor(areas).to(image_index.device, non_blocking=True)[image_index]


def crowds(target: Target) -> Tensor:
    """Which of a target's boxes are crowd or ignore regions, bool ``(N,)``; none where no boxes are annotated."""
    if target.boxes is None:
        return torch.zeros(0, dtype=torch.bool)
    return target.boxes.new_zeros(len(target.boxes), dtype=torch.bool) if target.iscrowd is None else target.iscrowd


def in_crowd(boxes: Tensor, target: Target) -> Tensor:
    """Which of `boxes` ``(R, 4)`` lie mostly in a crowd or ignore region, where there is no background to learn."""
    ignored = target.ignored_boxes()
    if len(ignored) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return (coverage(boxes, ignored) >= IGNORE_COVERAGE).any(dim=1)


def count_objects(target: Target) -> int:
    """How many objects with a box there are, crowds left out; the device is not asked again."""
    return 0 if target.boxes is None else len(target.objects())
