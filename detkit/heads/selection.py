"""From scored boxes to detections, for every head."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.boxes import at_least, clip_boxes
from detkit.ops import batched_nms
from detkit.structures import Detections


def select_detections(
    boxes: Tensor,
    scores: Tensor,
    image_size: tuple[int, int],
    score_threshold: float,
    nms_threshold: float,
    count: int,
) -> Detections:
    """Clip, drop the unlikely, suppress per class, keep the best.

    Args:
        boxes: ``(R, K, 4)``, a box of each region for each class.
        scores: ``(R, K)`` in [0, 1].
        image_size: (height, width) to clip to.
        score_threshold: scores must be greater than this.
        nms_threshold: IoU above which the less likely of two boxes of a class is dropped.
        count: most detections.
    """
    boxes = clip_boxes(boxes.float(), image_size)
    scores = scores.float()
    likely = (scores > score_threshold) & at_least(boxes, 1e-2)
    region, label = torch.where(likely)
    boxes, scores = boxes[region, label], scores[region, label]
    kept = batched_nms(boxes, scores, label, nms_threshold)[:count]
    return Detections(boxes[kept], scores[kept], label[kept])
