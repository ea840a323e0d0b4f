"""Intersection over union of boxes, and its generalizations."""

from __future__ import annotations

import math
from typing import Any, Literal, NoReturn, get_args

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_floating, check_same_device, check_shape, geometry_dtype
from detkit.ops.library import NATIVE_DEVICES, is_native

IoUMode = Literal["iou", "giou", "diou", "ciou"]


def box_iou(boxes1: Tensor, boxes2: Tensor, mode: IoUMode = "iou") -> Tensor:
    """Pairwise IoU of two sets of boxes, or one of its generalizations. Differentiable in both sets.

    Args:
        boxes1: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels. Computed in float32; float64 stays float64.
        boxes2: ``(M, 4)``, likewise.
        mode: "iou"; "giou" (Rezatofighi et al. 2019, algorithm 1); "diou" (Zheng et al. 2020, eq. 7) or
            "ciou" (eq. 10; no gradient flows through its trade-off factor).

    Returns:
        ``(N, M)`` in [0, 1] for "iou", else at most 1. Where a union, an enclosing box or a diagonal is empty, the
        term that divides by it is 0.

    Raises:
        InputError: a shape, dtype or device does not fit, or the mode is unknown.
    """
    check_shape("boxes1", boxes1, ("N", 4))
    check_shape("boxes2", boxes2, ("M", 4))
    check_floating("boxes1", boxes1)
    check_floating("boxes2", boxes2)
    check_same_device(boxes1=boxes1, boxes2=boxes2)
    _check_mode(mode)
    dtype = geometry_dtype(boxes1, boxes2)
    boxes1, boxes2 = boxes1.to(dtype), boxes2.to(dtype)
    if is_native(boxes1.device):
        iou: Tensor = torch.ops.detkit.box_iou(boxes1, boxes2, mode)
        return iou
    return box_iou_reference(boxes1, boxes2, mode)


def box_iou_reference(boxes1: Tensor, boxes2: Tensor, mode: IoUMode = "iou") -> Tensor:
    """`box_iou` in plain torch."""
    return _broadcast_iou(boxes1[:, None], boxes2[None], mode)


def paired_iou(boxes1: Tensor, boxes2: Tensor, mode: IoUMode = "iou") -> Tensor:
    """IoU of the boxes in the same row: ``(N, 4), (N, 4) -> (N,)``, otherwise as `box_iou`.

    Raises:
        InputError: a shape or dtype does not fit, or the mode is unknown.
    """
    check_shape("boxes1", boxes1, ("N", 4))
    check_shape("boxes2", boxes2, (boxes1.shape[0], 4))
    check_floating("boxes1", boxes1)
    check_floating("boxes2", boxes2)
    _check_mode(mode)
    dtype = geometry_dtype(boxes1, boxes2)
    return _broadcast_iou(boxes1.to(dtype), boxes2.to(dtype), mode)


def _broadcast_iou(left: Tensor, right: Tensor, mode: IoUMode) -> Tensor:
    """IoU ``(...,)`` of broadcastable boxes ``(..., 4)``."""
    size1, size2 = left[..., 2:] - left[..., :2], right[..., 2:] - right[..., :2]
    overlap = (torch.minimum(left[..., 2:], right[..., 2:]) - torch.maximum(left[..., :2], right[..., :2])).clamp(min=0)
    intersection = _product(overlap)
    union = _product(size1) + _product(size2) - intersection
    iou = _ratio(intersection, union)
    if mode == "iou":
        return iou
    hull = torch.maximum(left[..., 2:], right[..., 2:]) - torch.minimum(left[..., :2], right[..., :2])
    if mode == "giou":
        hull_area = _product(hull)
        return iou - _ratio(hull_area - union, hull_area)
    centers = (left[..., :2] + left[..., 2:] - right[..., :2] - right[..., 2:]) / 2
    diou = iou - _ratio(centers.square().sum(-1), hull.square().sum(-1))
    if mode == "diou":
        return diou
    slant = torch.atan2(size1[..., 0], size1[..., 1]) - torch.atan2(size2[..., 0], size2[..., 1])
    disparity = 4 / math.pi**2 * slant.square()
    trade_off = _ratio(disparity, 1 - iou + disparity).detach()
    return diou - trade_off * disparity


def _check_mode(mode: str) -> None:
    if mode not in get_args(IoUMode):
        raise InputError(f"mode must be one of {', '.join(get_args(IoUMode))}, got {mode!r}")


def _product(sides: Tensor) -> Tensor:
    """Of sides ``(..., 2)``; torch's own product has many times as many operations in its backward pass."""
    width, height = sides.unbind(-1)
    return width * height


def _ratio(numerator: Tensor, denominator: Tensor) -> Tensor:
    """The quotient, and 0 (with gradient 0) where the denominator is not positive."""
    valid = denominator > 0
    return torch.where(valid, numerator / torch.where(valid, denominator, 1), 0)


def _fake_box_iou(boxes1: Tensor, boxes2: Tensor, mode: str) -> Tensor:
    return boxes1.new_empty(boxes1.shape[0], boxes2.shape[0])


def _fake_box_iou_backward(gradient: Tensor, boxes1: Tensor, boxes2: Tensor, mode: str) -> tuple[Tensor, Tensor]:
    return torch.empty_like(boxes1, memory_format=torch.contiguous_format), torch.empty_like(
        boxes2, memory_format=torch.contiguous_format
    )


def _keep_for_box_iou(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    boxes1, boxes2, ctx.mode = inputs
    ctx.save_for_backward(boxes1, boxes2)


def _differentiate_box_iou(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
    boxes1, boxes2 = ctx.saved_tensors
    return *torch.ops.detkit.box_iou_backward(gradient, boxes1, boxes2, ctx.mode), None


def _refuse_second_derivative(ctx: Any, *gradients: Tensor) -> NoReturn:
    raise NotImplementedError("box_iou has no second derivative; detkit.ops.iou.box_iou_reference has one")


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::box_iou", _fake_box_iou)
    torch.library.register_fake("detkit::box_iou_backward", _fake_box_iou_backward)
    torch.library.register_autograd("detkit::box_iou", _differentiate_box_iou, setup_context=_keep_for_box_iou)
    torch.library.register_autograd("detkit::box_iou_backward", _refuse_second_derivative)
