"""Assignment: the objects of a batch, and which of them each candidate of a head is to predict.

B  images     P  candidates of an image     T  boxes of a batch

An object is numbered by its row among the objects of all images, crowd and ignore regions left out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.boxes import coverage
from detkit.errors import InputError
from detkit.geometry import Size
from detkit.matching import BACKGROUND, FOREGROUND, IGNORED, Matcher
from detkit.ops import best_overlaps
from detkit.structures import Target
from detkit.structures.objects import Objects

NO_OBJECT, NOT_LEARNED = -1, -2  # in place of a row: background, and a candidate without a target
CERTAIN, LIKELY = 12.0, 6.0  # logits of a perfect network
IGNORE_COVERAGE = 0.5  # a prediction that lies in a crowd with this share of its area or more is not background


def labeled_boxes(target: Target) -> tuple[Tensor, Tensor]:
    """The boxes and labels of one target.

    Raises:
        InputError: it has none.
    """
    if target.boxes is None or target.labels is None:
        raise InputError(f"the target of image id {target.image_id} has no boxes with labels")
    return target.boxes, target.labels


def object_offsets(targets: Sequence[Target]) -> list[int]:
    """The row of each image's first object, which is the number of objects in the images before it."""
    counts = [count_objects(target) for target in targets]
    return [end - count for count, end in zip(counts, accumulate(counts), strict=True)]


def assign_targets(
    targets: Sequence[Target], match: Callable[[Target], tuple[Tensor, Tensor]], device: torch.device
) -> Tensor:
    """The row of the object that each candidate is to predict ``(B, P)``, or `NO_OBJECT` or `NOT_LEARNED`.

    Args:
        targets: ground truth of each image; one whose boxes are not annotated teaches nothing.
        match: from a target to each candidate's object among ``target.objects()`` and its state, both ``(P,)`` int64,
            as of `detkit.matching.Matcher`.
        device: that of the candidates.
    """
    rows, states = [], []
    for target, offset in zip(targets, object_offsets(targets), strict=True):
        is_annotated = target.boxes is not None
        indices, state = match(target if is_annotated else Target.empty().to(device))
        rows.append(indices + offset if offset else indices)
        states.append(state if is_annotated else torch.full_like(state, IGNORED))
    state = torch.stack(states)
    others = torch.where(state == BACKGROUND, NO_OBJECT, NOT_LEARNED)
    return torch.where(state == FOREGROUND, torch.stack(rows), others)


@torch.no_grad()
def assign_objects(
    matcher: Callable[[Tensor, Target], tuple[Tensor, Tensor]],
    candidates: Tensor,
    objects: Objects,
    image_index: Tensor | None = None,
) -> Tensor:
    """The row of the object that each candidate is to predict, or `NO_OBJECT` or `NOT_LEARNED`, of all images at once.

    Args:
        matcher: a `detkit.matching.Matcher`. Any other function of candidates and a target is called image by image.
        candidates: ``(P, 4)``.
        objects: those of the batch.
        image_index: ``(P,)`` int64, the image of each candidate; None: every image has all the candidates.

    Returns:
        int64 ``(P,)``, or ``(B, P)`` without `image_index`.
    """
    if not isinstance(matcher, Matcher) or type(matcher).__call__ is not Matcher.__call__:
        return _assign_each(matcher, candidates, objects, image_index)
    rows, foreground, background = matcher.match(candidates, objects.located, objects.crowds, image_index)
    others = background.long() + NOT_LEARNED  # NO_OBJECT or NOT_LEARNED
    if objects.unannotated is not None:
        unknown = objects.unannotated[:, None] if image_index is None else objects.unannotated[image_index]
        others.masked_fill_(unknown, NOT_LEARNED)
    return torch.where(foreground, rows, others)


def _assign_each(
    matcher: Callable[[Tensor, Target], tuple[Tensor, Tensor]],
    candidates: Tensor,
    objects: Objects,
    image_index: Tensor | None,
) -> Tensor:
    """As `assign_objects`, image by image."""
    targets = [objects.target(image) for image in range(len(objects.counts))]
    if image_index is None:
        return assign_targets(targets, lambda target: matcher(candidates, target), candidates.device)
    rows = torch.full_like(image_index, NOT_LEARNED)
    for image, (target, offset) in enumerate(zip(targets, objects.offsets, strict=True)):
        own = torch.where(image_index == image)[0]
        if target.boxes is not None:
            indices, states = matcher(candidates[own], target)
            others = torch.where(states == BACKGROUND, NO_OBJECT, NOT_LEARNED)
            rows[own] = torch.where(states == FOREGROUND, indices + offset, others)
    return rows


class AssignedCandidates(NamedTuple):
    """The M candidates that are to predict an object.

    Args:
        candidates: ``(M,)`` int64, their position, ascending.
        boxes: ``(M, 4)`` of their objects.
        labels: ``(M,)`` of their objects.
        logits: ``(M,)``, what a perfect network would score them by: `CERTAIN` for the first of each object, `LIKELY`
            for the others, so that a limit of candidates cuts these first.
        rows: ``(M,)`` int64, the rows of their objects.
    """

    candidates: Tensor
    boxes: Tensor
    labels: Tensor
    logits: Tensor
    rows: Tensor

    @classmethod
    def of(cls, rows: Tensor, objects: Objects) -> AssignedCandidates:
        """Those of `rows` of any shape, as `assign_objects` gives them; positions are those of the flat tensor."""
        candidates = torch.where(rows.flatten() >= 0)[0]
        matched = rows.flatten()[candidates]
        order = torch.arange(len(matched), device=rows.device)
        first = torch.full_like(objects.labels, len(matched)).scatter_reduce_(0, matched, order, "amin")
        logits = torch.where(first[matched] == order, CERTAIN, LIKELY)
        return cls(candidates, objects.boxes[matched], objects.labels[matched], logits, matched)


def states_of(rows: Tensor) -> Tensor:
    """From what `assign_objects` returns, the states of `detkit.matching`, of the same shape."""
    return (rows - NO_OBJECT).clamp(max=FOREGROUND)


def image_indices(images: int, each: int, device: torch.device) -> Tensor:
    """The image ``(images * each,)`` of each of ``images * each`` candidates, ordered by image."""
    return torch.arange(images, device=device).repeat_interleave(each)


def image_areas(sizes: Sequence[Size], image_index: Tensor) -> Tensor | int:
    """The area in pixels of the image of each ``(M,)``, of images of `sizes`; one number where all have the same."""
    areas = [height * width for height, width in sizes]
    if len(set(areas)) == 1:
        return areas[0]
    return torch.tensor(areas).to(image_index.device, non_blocking=True)[image_index]


def crowd_mask(target: Target) -> Tensor:
    """Which of a target's boxes are crowd or ignore regions, bool ``(N,)``; none where no boxes are annotated."""
    if target.boxes is None:
        return torch.zeros(0, dtype=torch.bool)
    return target.boxes.new_zeros(len(target.boxes), dtype=torch.bool) if target.iscrowd is None else target.iscrowd


def inside_crowd(boxes: Tensor, target: Target) -> Tensor:
    """Which of `boxes` ``(R, 4)`` lie mostly in a crowd or ignore region, where background is not learned."""
    ignored = target.ignored_boxes()
    if len(ignored) == 0:
        return torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    return (coverage(boxes, ignored) >= IGNORE_COVERAGE).any(dim=1)


def not_background(boxes: Tensor, objects: Objects, image_index: Tensor) -> Tensor | None:
    """Which of `boxes` ``(P, 4)`` of images ``(P,)`` do not learn background, bool ``(P,)``; None where all do.

    These lie mostly in a crowd or ignore region, or in an image that is not annotated.
    """
    ignored = None
    if objects.crowds is not None:
        crowds = objects.crowds
        covered = best_overlaps(boxes, crowds.boxes, crowds.bounds, image_index, "coverage").overlaps
        ignored = covered >= IGNORE_COVERAGE
    if objects.unannotated is not None:
        unknown = objects.unannotated[image_index]
        ignored = unknown if ignored is None else ignored | unknown
    return ignored


def count_objects(target: Target) -> int:
    """How many objects with a box there are, crowds left out; does not wait for the device."""
    return 0 if target.boxes is None else len(target.objects())
