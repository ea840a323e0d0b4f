"""The old function that selects detections, for one release; `detkit.heads.postprocess` replaces it."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.deprecation import warn
from detkit.heads.postprocess import NMS
from detkit.structures import Detections


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    image_size: tuple[int, int],
    score_threshold: float,
    nms_threshold: float,
    count: int,
) -> Detections:
    """As ``NMS(score_threshold, nms_threshold, detections=count)`` of `detkit.heads`, which works on whole batches.

    Args:
        boxes: ``(R, K, 4)``, a box of each region for each class.
        scores: ``(R, K)`` in [0, 1].
        image_size: (height, width) to clip to.
        score_threshold: scores must be greater than this.
        nms_threshold: IoU above which the lower-scoring of two boxes of a class is dropped.
        count: most detections.
    """
    warn("select_detections is detkit.heads.NMS(score_threshold, iou_threshold, detections=count) now")
    postprocess = NMS(score_threshold, nms_threshold, detections=count).with_defaults(least_side=1e-2)
    _, region, label, scores = postprocess.topk_candidates(scores.float()[None])
    return postprocess(boxes[region, label], scores, label, torch.zeros_like(label), [image_size])[0]
