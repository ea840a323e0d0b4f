"""Non-maximum suppression: of overlapping boxes, keep the one with the highest score."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import as_geometry, check_floating, check_same_device, check_shape
from detkit.ops.iou import box_iou_reference
from detkit.ops.library import NATIVE_DEVICES, is_native


def nms(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """Greedy non-maximum suppression: drop each box that overlaps a kept box of higher score.

    Args:
        boxes: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels. Computed in float32; float64 stays float64.
        scores: ``(N,)`` floating point, no NaN. Of equal scores, the lower index ranks higher.
        iou_threshold: boxes overlap if their IoU is greater than this, not equal.

    Returns:
        int64 ``(M,)`` indices of the kept boxes, highest score first.

    Raises:
        InputError: a shape, dtype or device does not fit, or a score is NaN.
        RuntimeError: a score is NaN, on CUDA.
    """
    check_boxes(boxes, scores)
    boxes = as_geometry(boxes)
    if is_native(boxes.device):
        kept: Tensor = torch.ops.detkit.nms(boxes, as_geometry(scores), None, iou_threshold)
        return kept
    return nms_reference(boxes, scores, iou_threshold)


def batched_nms(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """`nms` within each class: boxes of different labels never suppress each other.

    Args:
        boxes: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels.
        scores: ``(N,)`` floating point, no NaN.
        labels: ``(N,)`` integers of any sign; an image index serves as well as a class.
        iou_threshold: boxes overlap if their IoU is greater than this, not equal.

    Returns:
        int64 ``(M,)`` indices of the kept boxes, highest score first over all classes.

    Raises:
        InputError: a shape, dtype or device does not fit, or a score is NaN.
        RuntimeError: a score is NaN, on CUDA.
    """
    check_boxes(boxes, scores, labels)
    boxes = as_geometry(boxes)
    if is_native(boxes.device):
        kept: Tensor = torch.ops.detkit.nms(boxes, as_geometry(scores), labels.long(), iou_threshold)
        return kept
    return batched_nms_reference(boxes, scores, labels, iou_threshold)


def nms_padded(
    boxes: Tensor, scores: Tensor, iou_threshold: float, count: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`nms`, or `batched_nms`, with a result of fixed size: no synchronization with the device, static shapes.

    Args:
        boxes: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels.
        scores: ``(N,)`` floating point, no NaN. NaN is an error on the CPU; on CUDA, where checking would synchronize,
            such boxes are dropped.
        iou_threshold: boxes overlap if their IoU is greater than this, not equal.
        count: size of the result.
        labels: ``(N,)`` integers: boxes of different labels never suppress each other. None: all are of one class.

    Returns:
        int64 ``(count,)`` indices of the kept boxes, highest score first over all classes, padded with -1; and int64
        ``()``, the number of indices before the padding.

    Raises:
        InputError: a shape, dtype, device or the count does not fit, or a score is NaN.
    """
    check_boxes(boxes, scores, labels)
    labels = None if labels is None else labels.long()
    if count < 0:
        raise InputError(f"count must not be negative, got {count}")
    boxes = as_geometry(boxes)
    if is_native(boxes.device):
        padded: tuple[Tensor, Tensor] = torch.ops.detkit.nms_padded(
            boxes, as_geometry(scores), labels, iou_threshold, count
        )
        return padded
    return nms_padded_reference(boxes, scores, iou_threshold, count, labels)


def batched_nms_padded(
    boxes: Tensor,
    scores: Tensor,
    image_index: Tensor,
    iou_threshold: float,
    images: int,
    count: int,
    labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`nms_padded` of each image of a batch, all at once: no synchronization with the device, static shapes.

    Args:
        boxes: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels.
        scores: ``(N,)`` floating point, no NaN, as in `nms_padded`.
        image_index: ``(N,)`` integers, the image of each box in any order. A box whose image is not in
            ``0..images - 1`` takes no part: -1 leaves a box out without a smaller tensor.
        iou_threshold: boxes overlap if their IoU is greater than this, not equal.
        images: how many images there are.
        count: size of the result of each image.
        labels: ``(N,)`` integers of 32 bits, such as the class or the level of a pyramid: boxes of different labels
            never suppress each other. None: all boxes of an image are of one class.

    Returns:
        int64 ``(images, count)`` indices into `boxes` of the kept ones of each image, highest score first over all its
        classes, padded with -1; and int64 ``(images,)``, the numbers of indices before the padding.

    Raises:
        InputError: a shape, dtype, device or size does not fit, or a score is NaN.
    """
    check_boxes(boxes, scores, labels)
    _check_integers("image_index", boxes, image_index)
    if images < 0 or count < 0:
        raise InputError(f"images and count must not be negative, got {images} and {count}")
    image_index, labels = image_index.long(), None if labels is None else labels.long()
    boxes = as_geometry(boxes)
    if is_native(boxes.device):
        padded: tuple[Tensor, Tensor] = torch.ops.detkit.batched_nms_padded(
            boxes, as_geometry(scores), image_index, labels, iou_threshold, images, count
        )
        return padded
    return batched_nms_padded_reference(boxes, scores, image_index, iou_threshold, images, count, labels)


def nms_reference(boxes: Tensor, scores: Tensor, iou_threshold: float) -> Tensor:
    """`nms` in plain torch, one step per kept box."""
    order = torch.argsort(scores, descending=True, stable=True)
    kept = []
    while len(order):
        best, order = order[:1], order[1:]
        kept.append(best)
        iou = box_iou_reference(boxes[best], boxes[order])[0]
        order = order[~(iou.double() > iou_threshold)]
    return torch.cat(kept) if kept else order


def batched_nms_reference(boxes: Tensor, scores: Tensor, labels: Tensor, iou_threshold: float) -> Tensor:
    """`batched_nms` in plain torch, one `nms_reference` per class."""
    is_kept = torch.zeros(len(boxes), dtype=torch.bool, device=boxes.device)
    for label in torch.unique(labels):
        members = torch.where(labels == label)[0]
        is_kept[members[nms_reference(boxes[members], scores[members], iou_threshold)]] = True
    kept = torch.where(is_kept)[0]
    return kept[torch.argsort(scores[kept], descending=True, stable=True)]


def nms_padded_reference(
    boxes: Tensor, scores: Tensor, iou_threshold: float, count: int, labels: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """`nms_padded` in plain torch."""
    labels = torch.zeros(len(boxes), dtype=torch.int64, device=boxes.device) if labels is None else labels
    kept = batched_nms_reference(boxes, scores, labels, iou_threshold)[:count]
    return torch.nn.functional.pad(kept, (0, count - len(kept)), value=-1), torch.tensor(len(kept), device=boxes.device)


def batched_nms_padded_reference(
    boxes: Tensor,
    scores: Tensor,
    image_index: Tensor,
    iou_threshold: float,
    images: int,
    count: int,
    labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """`batched_nms_padded` in plain torch, one `nms_padded_reference` per image."""
    padded, numbers = boxes.new_full((images, count), -1, dtype=torch.int64), image_index.new_zeros(images)
    for image in range(images):
        members = torch.where(image_index == image)[0]
        own_labels = None if labels is None else labels[members]
        kept, numbers[image] = nms_padded_reference(boxes[members], scores[members], iou_threshold, count, own_labels)
        padded[image, : numbers[image]] = members[kept[: numbers[image]]]
    return padded, numbers


def check_boxes(boxes: Tensor, scores: Tensor, labels: Tensor | None = None) -> None:
    """Check the arguments of a suppression: boxes, and a score and perhaps a label for each, on one device."""
    check_shape("boxes", boxes, ("N", 4))
    _check_scores(boxes, scores)
    check_same_device(boxes=boxes, scores=scores)
    if labels is not None:
        _check_integers("labels", boxes, labels)


def _check_scores(boxes: Tensor, scores: Tensor) -> None:
    """Raise InputError unless `scores` are floating point without NaN, one per box."""
    check_shape("scores", scores, (boxes.shape[0],))
    check_floating("boxes", boxes)
    check_floating("scores", scores)
    # A traced graph has no values; the kernels then rank NaN somewhere, without harm. On CUDA reading a value would
    # synchronize: there the kernel of nms checks, which has to synchronize anyway.
    is_readable = not torch.compiler.is_compiling() and not (scores.is_cuda and is_native(scores.device))
    if is_readable and len(scores) and math.isnan(scores.detach().max()):  # max() returns NaN if there is one
        raise InputError("scores must not be NaN: the model that made them has diverged, or they were never set")


def _check_integers(name: str, boxes: Tensor, values: Tensor) -> None:
    """Raise InputError unless `values` are integers, one per box, on the device of the boxes."""
    check_shape(name, values, (boxes.shape[0],))
    if values.is_floating_point() or values.is_complex():
        raise InputError(f"{name} must be integers, got {values.dtype}")
    check_same_device(**{"boxes": boxes, name: values})


def _fake_nms(boxes: Tensor, scores: Tensor, labels: Tensor | None, iou_threshold: float) -> Tensor:
    return boxes.new_empty(torch.library.get_ctx().new_dynamic_size(), dtype=torch.int64)


def _fake_nms_padded(
    boxes: Tensor, scores: Tensor, labels: Tensor | None, iou_threshold: float, count: int
) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(count, dtype=torch.int64), boxes.new_empty((), dtype=torch.int64)


def _fake_batched_nms_padded(
    boxes: Tensor,
    scores: Tensor,
    image_index: Tensor,
    labels: Tensor | None,
    iou_threshold: float,
    images: int,
    count: int,
) -> tuple[Tensor, Tensor]:
    return boxes.new_empty(images, count, dtype=torch.int64), boxes.new_empty(images, dtype=torch.int64)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::nms", _fake_nms)
    torch.library.register_fake("detkit::nms_padded", _fake_nms_padded)
    torch.library.register_fake("detkit::batched_nms_padded", _fake_batched_nms_padded)
