"""Soft-NMS: lower the scores of boxes that overlap a box of higher score.

B  images     N  boxes of an image     M  boxes that are kept
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import geometry_dtype
from detkit.ops.iou import box_iou_reference
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.nms import check_boxes

Decay = Literal["linear", "gaussian", "hard"]


def soft_nms(
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float = 0.3,
    sigma: float = 0.5,
    method: Decay = "linear",
    score_threshold: float = 0.001,
    labels: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Greedy suppression by decay (Bodla et al. 2017, section 3). Not differentiable.

    Takes the box of the highest score, then lowers the scores of the others by their IoU with it, until no score is
    above the threshold.

    Args:
        boxes: ``(N, 4)`` floating point, ``x1 y1 x2 y2`` in pixels. Computed in float32; float64 stays float64.
        scores: ``(N,)`` floating point, no NaN. Of equal scores, the lower index ranks higher.
        iou_threshold: for "linear" and "hard": boxes overlap if their IoU is greater than this, not equal.
        sigma: for "gaussian".
        method: "linear" multiplies the score of an overlapping box by ``1 - iou``; "gaussian" multiplies every score
            by ``exp(-iou² / sigma)``; "hard" drops overlapping boxes, as `nms` does.
        score_threshold: boxes of lower score are dropped, at the start and after decay. Not negative, unless the
            method is "hard".
        labels: ``(N,)`` integers: boxes of different labels do not affect each other. None: all are of one class.

    Returns:
        int64 ``(M,)`` indices of the kept boxes, highest score first over all classes, and their decayed scores
        ``(M,)`` in the dtype of the computation.

    Raises:
        InputError: a shape, dtype, device or parameter does not fit, or a score is NaN.
    """
    check_boxes(boxes, scores, labels)
    labels = None if labels is None else labels.long()
    _check_rule(iou_threshold, sigma, method, score_threshold)
    dtype = geometry_dtype(boxes, scores)
    boxes, scores = boxes.detach().to(dtype), scores.detach().to(dtype)
    rule = (float(iou_threshold), float(sigma), method, float(score_threshold))
    if is_native(boxes.device):
        kept: tuple[Tensor, Tensor] = torch.ops.detkit.soft_nms(boxes, scores, labels, *rule)
        return kept
    return soft_nms_reference(boxes, scores, labels, *rule)


@torch.no_grad()
def soft_nms_reference(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    iou_threshold: float,
    sigma: float,
    method: Decay,
    score_threshold: float,
) -> tuple[Tensor, Tensor]:
    """`soft_nms` in plain torch, one step per kept box."""
    left = torch.where(scores.double() >= score_threshold, scores, -torch.inf)
    kept, kept_scores = [], []
    while len(left) and left.max() > -torch.inf:
        best = torch.where(left == left.max())[0][0]  # argmax may return any of several equal ones
        kept.append(best)
        kept_scores.append(left[best].clone())
        iou = box_iou_reference(boxes[best, None], boxes)[0]
        if labels is not None:
            iou = torch.where(labels == labels[best], iou, 0)
        overlaps = iou.double() > iou_threshold
        if method == "hard":
            left = left.masked_fill(overlaps, -torch.inf)
        elif method == "linear":
            left = torch.where(overlaps, left * (1 - iou).clamp(min=0), left)
        else:
            left = left * torch.exp(-iou.square() / sigma)
        left = left.masked_fill(~(left.double() >= score_threshold), -torch.inf)
        left[best] = -torch.inf
    if not kept:
        return torch.zeros(0, dtype=torch.int64, device=boxes.device), scores[:0]
    return torch.stack(kept), torch.stack(kept_scores)


def _check_rule(iou_threshold: float, sigma: float, method: str, score_threshold: float) -> None:
    if method not in get_args(Decay):
        raise InputError(f"method must be one of {', '.join(get_args(Decay))}, got {method!r}")
    if not iou_threshold >= 0:
        raise InputError(f"iou_threshold must not be negative, got {iou_threshold}")
    if not sigma > 0:
        raise InputError(f"sigma must be positive, got {sigma}")
    if not (score_threshold >= 0 or (method == "hard" and score_threshold < 0)):
        raise InputError(f"score_threshold must not be negative, since decay raises negative scores: {score_threshold}")


def _fake_soft_nms(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor | None,
    iou_threshold: float,
    sigma: float,
    method: str,
    score_threshold: float,
) -> tuple[Tensor, Tensor]:
    count = torch.library.get_ctx().new_dynamic_size()
    return boxes.new_empty(count, dtype=torch.int64), boxes.new_empty(count)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::soft_nms", _fake_soft_nms)


# An operation of an exported graph, which has no tensors whose sizes depend on boxes.
@torch.library.custom_op("detkit::batched_soft_nms_padded", mutates_args=())
def batched_soft_nms_padded(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    score_threshold: Tensor,
    iou_threshold: float,
    sigma: float,
    method: str,
    count: int,
) -> tuple[Tensor, Tensor]:
    """The first `count` boxes that `soft_nms` keeps of each image.

    Args:
        boxes: ``(B, N, 4)`` float32, ``x1 y1 x2 y2`` in pixels.
        scores: ``(B, N)`` float32; -inf is no box.
        labels: ``(B, N)`` int64.
        score_threshold: float32 ``()``, a tensor since that of an exported file can be moved.
        iou_threshold: see `soft_nms`, as what follows.
        sigma: likewise.
        method: likewise, "linear" or "gaussian".
        count: the most boxes of an image.

    Returns:
        int64 ``(B, M)`` indices of the kept boxes, highest score first, and their decayed scores ``(B, M)``; where
        fewer are kept, 0 and -inf follow.
    """
    rows = boxes.new_zeros(len(boxes), count, dtype=torch.int64)
    decayed = boxes.new_full((len(boxes), count), -torch.inf)
    for image, (own_boxes, own_scores, own_labels) in enumerate(zip(boxes, scores, labels, strict=True)):
        threshold = float(score_threshold)
        kept, left = soft_nms(own_boxes, own_scores, iou_threshold, sigma, method, threshold, own_labels)  # type: ignore[arg-type]  # an operation takes a string
        length = min(len(kept), count)
        rows[image, :length], decayed[image, :length] = kept[:length], left[:length]
    return rows, decayed


@batched_soft_nms_padded.register_fake
def _fake_batched_soft_nms_padded(
    boxes: Tensor,
    scores: Tensor,
    labels: Tensor,
    score_threshold: Tensor,
    iou_threshold: float,
    sigma: float,
    method: str,
    count: int,
) -> tuple[Tensor, Tensor]:
    shape = boxes.shape[0], count
    return boxes.new_empty(shape, dtype=torch.int64), boxes.new_empty(shape)
