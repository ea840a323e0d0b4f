"""Which detections of an image are right, by box, mask and mesh (Gkioxari et al., "Mesh R-CNN", 2019, section 5.2).

The protocol of the authors' Pix3D evaluation, whose images have one object each, for any number of objects: a detection
belongs to the object with which its box has the highest IoU, and counts only where that is above 0.3.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detkit.ops import RunLengths, box_iou, mask_iou, masks_to_rle

LEAST_BOX_IOU = 0.3
"""Detections count whose box has a higher IoU with an object."""

RIGHT = 0.5
"""The IoU of boxes and masks, and the F1, above which a detection is right."""


@dataclass(frozen=True, eq=False)
class MatchedDetections:
    """The D detections of an image that count, best first, and the object that each belongs to.

    Args:
        rows: int64 ``(D,)`` which detections of the answer they are.
        objects: int64 ``(D,)`` rows of the true objects.
        labels: int64 ``(D,)`` predicted classes.
        scores: float64 ``(D,)``.
        box_iou: float64 ``(D,)`` with their object.
        has_class: bool ``(D,)`` whether the object has the predicted class.
    """

    rows: np.ndarray
    objects: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    box_iou: np.ndarray
    has_class: np.ndarray

    def mask_ious(self, masks: Tensor | RunLengths, true_masks: Tensor | RunLengths) -> np.ndarray:
        """float64 ``(D,)`` the IoU of the masks of detections and objects.

        Args:
            masks: of all detections of the answer.
            true_masks: of all true objects, of the same size.
        """
        if not len(self.rows):
            return np.zeros(0)
        chosen = _run_lengths(masks, self.rows)
        objects, columns = np.unique(self.objects, return_inverse=True)
        ious: np.ndarray = mask_iou(chosen, _run_lengths(true_masks, objects)).numpy()
        return ious[np.arange(len(columns)), columns]

    def right(self, quality: np.ndarray) -> np.ndarray:
        """bool ``(D,)``: of each object the best-scoring detection of its class with a `quality` ``(D,)`` above 0.5."""
        candidates = np.flatnonzero(self.has_class & (quality > RIGHT))
        is_right = np.zeros(len(self.rows), dtype=bool)
        is_right[candidates[np.unique(self.objects[candidates], return_index=True)[1]]] = True
        return is_right


def match_detections(
    boxes: Tensor, scores: Tensor, labels: np.ndarray, true_boxes: Tensor, true_labels: np.ndarray
) -> MatchedDetections:
    """Find the object of each detection; equal scores stay in the order of the answer.

    Args:
        boxes: ``(N, 4)`` ``x1 y1 x2 y2``, on the CPU like all tensors.
        scores: ``(N,)``.
        labels: int64 ``(N,)`` predicted classes; those that are -1 do not count.
        true_boxes: ``(T, 4)``.
        true_labels: int64 ``(T,)``.
    """
    ious = box_iou(boxes.double(), true_boxes.double()).numpy()
    objects = ious.argmax(axis=1) if len(true_labels) else np.zeros(len(labels), dtype=np.int64)
    best = ious[np.arange(len(labels)), objects] if len(true_labels) else np.zeros(len(labels))
    points = scores.double().numpy()
    order = np.argsort(-points, kind="stable")
    rows = order[(best[order] > LEAST_BOX_IOU) & (labels[order] >= 0)]
    objects = objects[rows]
    return MatchedDetections(
        rows, objects, labels[rows], points[rows], best[rows], labels[rows] == true_labels[objects]
    )


def _run_lengths(masks: Tensor | RunLengths, rows: np.ndarray) -> RunLengths:
    return masks_to_rle(masks[torch.from_numpy(rows)])
