"""Pixels near the boundaries of classes, for boundary IoU (Cheng et al., "Boundary IoU: Improving Object-Centric Image
Segmentation Evaluation", CVPR 2021, equation 3)."""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor

from detkit.ops.maps.label_confusion import label_confusion
from detkit.structures.image_fields import IGNORE_INDEX

DISTANCE_RATIO = 0.02
"""Of the image's diagonal, which is the paper's choice (section 5.2)."""


def boundary_distance(height: int, width: int, ratio: float = DISTANCE_RATIO) -> int:
    """How far from the boundary a pixel may be, at least 1 pixel."""
    return max(1, round(ratio * math.hypot(height, width)))


def boundary_pixels(labels: np.ndarray, distance: int) -> np.ndarray:
    """bool ``(H, W)`` whether a pixel of another label, or the outside, is at most so many rows and columns away.

    For each class this is its mask without the mask that a 3 x 3 square has eroded `distance` times.

    Args:
        labels: uint8 or int16 ``(H, W)``.
        distance: in pixels.
    """
    square = np.ones((2 * distance + 1, 2 * distance + 1), dtype=np.uint8)
    is_boundary = cv2.erode(labels, square) != cv2.dilate(labels, square)
    for side in (is_boundary, is_boundary.T):
        side[:distance] = True
        side[max(len(side) - distance, 0) :] = True
    return is_boundary


def boundary_confusion(truth: Tensor, answer: Tensor, rows: int, columns: int, ratio: float) -> Tensor:
    """The confusion matrix of the pixels near the boundaries of both maps: `label_confusion` of what is left of each.

    Void pixels of the truth are void in both maps before boundaries are sought.

    Args:
        truth: ``(H, W)`` uint8 or int16.
        answer: likewise.
        rows: T, the number of classes of the truth.
        columns: A, that of the answer.
        ratio: of the distance to the diagonal.

    Returns:
        int64 ``(T + 1, A + 1)``; the last row counts pixels that are no boundary in the truth, the last column those
        that are none in the answer.
    """
    dtype = torch.int16 if torch.int16 in (truth.dtype, answer.dtype) else torch.uint8
    ignored = IGNORE_INDEX[dtype]
    is_void = truth == IGNORE_INDEX[truth.dtype]
    own = truth.to(dtype).masked_fill(is_void, ignored)
    given = answer.to(dtype).masked_fill(is_void | (answer == IGNORE_INDEX[answer.dtype]), ignored)
    height, width = truth.shape
    distance = boundary_distance(height, width, ratio)
    near_own, near_given = (torch.from_numpy(boundary_pixels(one.numpy(), distance)) for one in (own, given))
    own = own.masked_fill(~near_own & ~is_void, rows)
    given = given.masked_fill(~near_given, ignored)
    return label_confusion(own, given, rows + 1, columns)
