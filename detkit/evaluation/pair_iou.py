"""IoU of pairs of packed boxes and masks, as COCO computes it."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from detkit.evaluation.packed_objects import Masks, PackedDetections, PackedObjects
from detkit.ops import RunLengths, mask_iou


def pair_box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU ``(P,)`` of boxes ``(P, 4)`` ``x y width height``, row by row; 0 where they share no area."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    intersection = (high - low).clip(min=0).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + others[:, 2:].prod(axis=1) - intersection
    return np.divide(intersection, union, out=np.zeros(len(boxes)), where=intersection > 0)


def pair_mask_iou(
    detections: PackedDetections, objects: PackedObjects, detection_index: np.ndarray, object_index: np.ndarray
) -> np.ndarray:
    """IoU ``(P,)`` of the masks of some detections and objects, image by image.

    Args:
        detections: all detections, with masks.
        objects: all objects, with masks.
        detection_index: int64 ``(P,)``. The pairs of an image are consecutive, and so are those of a detection.
        object_index: int64 ``(P,)``. Each detection of an image is paired with the same objects.
    """
    iou = np.zeros(len(detection_index))
    images = detections.images[detection_index]
    bounds = np.flatnonzero(np.diff(images, prepend=-1, append=-1))
    for begin, end in pairwise(bounds):
        rows, columns = detection_index[begin:end], object_index[begin:end]
        columns = columns[: np.searchsorted(np.cumsum(rows != rows[0]), 1)]
        masks = (_run_lengths(detections.masks, rows[:: len(columns)]), _run_lengths(objects.masks, columns))
        iou[begin:end] = mask_iou(*masks).numpy().ravel()
    return iou


def _run_lengths(masks: Masks | None, index: np.ndarray) -> RunLengths:
    if masks is None:
        raise ValueError("masks are not packed; read them with iou_type segm")
    return RunLengths.from_coco([masks.encoded(one) for one in index])
