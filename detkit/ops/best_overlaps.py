"""The object of its own image that each candidate overlaps most, of a whole batch, without a matrix of all pairs."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_floating, check_same_device, check_shape, geometry_dtype
from detkit.ops.iou import box_iou_reference
from detkit.ops.library import NATIVE_DEVICES, is_native

OverlapMeasure = Literal["iou", "coverage"]


class BestOverlaps(NamedTuple):
    """The best objects of P candidates, as ``(P,)``, or ``(B, P)`` where all images have the same candidates.

    Args:
        overlaps: the greatest overlap, 0 where the image has no object.
        rows: int64, the row of its object, of equal overlaps the first; -1 where the image has no object.
        is_best: bool, whether one of the image's objects is overlapped by no candidate more than by this one, which
            touches it; empty unless asked for.
        object_overlaps: ``(T,)``, the greatest overlap of each object; empty unless asked for.
        object_candidates: ``(T,)`` int64, the candidate that has it, of equal overlaps the first, -1 where none touches
            the object; empty unless asked for.
    """

    overlaps: Tensor
    rows: Tensor
    is_best: Tensor
    object_overlaps: Tensor
    object_candidates: Tensor


def best_overlaps(
    candidates: Tensor,
    boxes: Tensor,
    bounds: Tensor,
    image_index: Tensor | None = None,
    measure: OverlapMeasure = "iou",
    of_objects: bool = False,
) -> BestOverlaps:
    """Find the best object of each candidate among the objects of its image. Not differentiable.

    Overlaps are those of `detkit.ops.box_iou` and `coverage`, bit by bit. The number of operations does
    not depend on the number of images, and nothing waits for the device.

    Args:
        candidates: ``(P, 4)`` floating point, ``x1 y1 x2 y2`` in pixels. Computed in float32; float64 stays float64.
        boxes: ``(T, 4)``, the objects, ordered by image.
        bounds: ``(B + 1,)`` int64, the row of the first object of each image, then T.
        image_index: ``(P,)`` int64, the image of each candidate; one outside of ``0..B-1`` has no objects. None: every
            image has all the candidates.
        measure: "iou", or "coverage": the share of the candidate's area that lies in the object.
        of_objects: also find the best candidates of each object.

    Raises:
        InputError: a shape, dtype or device does not fit, or the measure is unknown.
    """
    check_shape("candidates", candidates, ("P", 4))
    check_shape("boxes", boxes, ("T", 4))
    check_shape("bounds", bounds, ("B + 1",))
    check_floating("candidates", candidates)
    check_floating("boxes", boxes)
    check_same_device(candidates=candidates, boxes=boxes, bounds=bounds)
    if image_index is not None:
        check_shape("image_index", image_index, (candidates.shape[0],))
        check_same_device(candidates=candidates, image_index=image_index)
    if bounds.dtype != torch.int64 or (image_index is not None and image_index.dtype != torch.int64):
        raise InputError("bounds and image_index must be int64")
    if bounds.shape[0] == 0:
        raise InputError("bounds must have one number more than there are images, got none")
    if measure not in get_args(OverlapMeasure):
        raise InputError(f"measure must be one of {', '.join(get_args(OverlapMeasure))}, got {measure!r}")
    dtype = geometry_dtype(candidates, boxes)
    candidates, boxes = candidates.detach().to(dtype), boxes.detach().to(dtype)
    if is_native(candidates.device) and dtype == torch.float32:
        return BestOverlaps(
            *torch.ops.detkit.best_overlaps(candidates, image_index, boxes, bounds, measure, of_objects)
        )
    return best_overlaps_reference(candidates, boxes, bounds, image_index, measure, of_objects)


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """The fraction of the area of each box inside each region: ``(N, 4), (M, 4) -> (N, M)`` in [0, 1].

    COCO's evaluation uses it in place of IoU for crowd regions. It is 0 for a box without area.
    """
    top_left = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    area = (boxes[:, None, 2:] - boxes[:, None, :2]).prod(dim=-1)
    return torch.where(area > 0, intersection / area, 0)


@torch.no_grad()
def best_overlaps_reference(
    candidates: Tensor,
    boxes: Tensor,
    bounds: Tensor,
    image_index: Tensor | None,
    measure: OverlapMeasure,
    of_objects: bool,
) -> BestOverlaps:
    """`best_overlaps` in plain torch, image by image."""
    # Whatever `bounds` holds, these are ascending rows, as in the kernels.
    rows_of_images: list[int] = bounds.clamp(0, len(boxes)).cummax(0).values.tolist()
    images, count = len(rows_of_images) - 1, len(candidates)
    shape = (count,) if image_index is not None else (images, count)
    overlaps, rows = candidates.new_zeros(shape), bounds.new_full(shape, -1)
    is_best = torch.zeros(shape, dtype=torch.bool, device=candidates.device)
    object_overlaps, object_candidates = boxes.new_zeros(len(boxes)), bounds.new_full((len(boxes),), -1)
    for image, (first, last) in enumerate(pairwise(rows_of_images)):
        own = torch.arange(count, device=bounds.device) if image_index is None else torch.where(image_index == image)[0]
        if first == last or len(own) == 0:
            continue
        slots = own if image_index is not None else (image, own)
        pairs = _overlaps(candidates[own], boxes[first:last], measure)
        overlaps[slots], best = pairs.max(dim=0)
        rows[slots] = best + first
        most, best = pairs.max(dim=1, keepdim=True)
        object_overlaps[first:last] = most[:, 0]
        object_candidates[first:last] = torch.where(most > 0, own[best], -1)[:, 0]
        is_best[slots] = ((pairs == most) & (pairs > 0)).any(dim=0)
    if not of_objects:
        return BestOverlaps(overlaps, rows, is_best[:0].flatten(), object_overlaps[:0], object_candidates[:0])
    return BestOverlaps(overlaps, rows, is_best, object_overlaps, object_candidates)


def _overlaps(candidates: Tensor, boxes: Tensor, measure: OverlapMeasure) -> Tensor:
    """The overlap of every object with every candidate ``(T, P)``."""
    return box_iou_reference(boxes, candidates) if measure == "iou" else coverage(candidates, boxes).T


def _fake_best_overlaps(
    candidates: Tensor, images: Tensor | None, boxes: Tensor, bounds: Tensor, measure: str, of_objects: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    count = candidates.shape[0]
    shape = (count,) if images is not None else (bounds.shape[0] - 1, count)
    marked, objects = (shape, boxes.shape[0]) if of_objects else ((0,), 0)
    return (
        candidates.new_empty(shape),
        candidates.new_empty(shape, dtype=torch.int64),
        candidates.new_empty(marked, dtype=torch.bool),
        candidates.new_empty(objects),
        candidates.new_empty(objects, dtype=torch.int64),
    )


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::best_overlaps", _fake_best_overlaps)
