"""Which objects of an image are among the detections: each by one detection of its class, as near as possible."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from detkit.ops import box_iou
from detkit.structures import Detections


@dataclass(frozen=True, eq=False)
class Recovered:
    """How each of the N entries of the truth of an image (its objects, its classes, or the image) comes back.

    Args:
        overlaps: ``(N,)`` float in [0, 1], how well: an IoU, or a share of pixels; from 0.5 on it counts as found.
        rows: ``(N,)`` int64, the row of the prediction in the answer that stands for it; -1 where there is none.
        labels: ``(N,)`` int64, the class of each; None: they have none.
        boxes: ``(N, 4)``, where each is in the image; None: nowhere in particular.
    """

    overlaps: Tensor
    rows: Tensor
    labels: Tensor | None = None
    boxes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.rows)


def recovered_objects(truth: Detections, answer: Detections) -> Recovered:
    """Pair each object with at most one detection of its class, for the greatest sum of IoUs."""
    overlaps, rows = np.zeros(len(truth)), np.full(len(truth), -1)
    if len(truth) and len(answer):
        ious = box_iou(truth.boxes.double(), answer.boxes.double()).numpy()
        ious = np.where((truth.labels[:, None] == answer.labels[None]).numpy(), ious, 0)
        ious[ious < 1e-6] = 0
        objects, detections = linear_sum_assignment(ious, maximize=True)
        found = ious[objects, detections] > 0
        overlaps[objects[found]], rows[objects[found]] = ious[objects, detections][found], detections[found]
    return Recovered(torch.from_numpy(overlaps).float(), torch.from_numpy(rows), truth.labels, truth.boxes)
