"""Soft-NMS of a batch with a result of fixed size, as one operation of an exported graph.

B  images     N  boxes of an image     M  boxes that are kept, `count`
"""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.ops.soft_nms import soft_nms


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
def _fake(
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
