"""The masks and keypoints of objects and detections, which lie with the evaluators that compare them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from pycocotools import mask as coco_mask

from detkit.evaluation import Evaluator
from detkit.evaluation.detection_collector import DetectionCollector
from detkit.evaluation.packed_objects import Masks
from detkit.reporting.parts.mark_shapes import Shape, keypoint_shape, mask_shape

_SAME_BOX = 2.0
"""The greatest distance of the corners of a box from those of the same box elsewhere, in pixels, summed."""


class ObjectShapes:
    """The shapes of the objects and detections of an evaluation of boxes, found by class, score and box.

    Args:
        evaluators: all of a model; those of masks and keypoints have shapes.
    """

    def __init__(self, evaluators: Iterable[Evaluator]) -> None:
        collectors = [one for one in evaluators if isinstance(one, DetectionCollector)]
        self._collectors = [one for one in collectors if one.iou_type in ("segm", "keypoints")]

    def of_object(self, image_id: Any, category: int, box: np.ndarray, scale: float) -> Shape | None:
        """The shape of an object.

        Args:
            image_id: of its image.
            category: its position among the categories of the ground truth.
            box: ``x y width height`` in pixels.
            scale: pixels of the page for one of the image.
        """
        found = Shape()
        for collector in self._collectors:
            truth = collector.ground_truth
            objects, number = truth.objects, truth.image_numbers.get(image_id, -1)
            rows = np.flatnonzero((objects.images == number) & (objects.categories == category))
            distances = np.abs(objects.boxes[rows] - box).sum(axis=1)
            if len(rows) and distances.min() <= _SAME_BOX:
                row = int(rows[distances.argmin()])
                found |= _shape(collector, category, objects.masks, objects.keypoints, row, scale, is_truth=True)
        return found if any(found.plain) else None

    def of_detection(self, image_id: Any, category: int, score: float, box: np.ndarray, scale: float) -> Shape | None:
        """The shape of a detection; as `of_object`."""
        found = Shape()
        for collector in self._collectors:
            kept = collector.kept.get(image_id)
            if kept is None:
                continue
            is_same = (collector.positions[kept.labels] == category) & (kept.scores == np.float32(score))
            rows = np.flatnonzero(is_same)
            if len(rows) == 0:
                continue
            boxes = kept.boxes[rows].astype(np.float64)
            boxes[:, 2:] -= boxes[:, :2]
            row = int(rows[np.abs(boxes - box).sum(axis=1).argmin()])  # of equal scores the nearest
            found |= _shape(collector, category, kept.masks, kept.keypoints, row, scale, is_truth=False)
        return found if any(found.plain) else None


def _shape(
    collector: DetectionCollector,
    category: int,
    masks: Masks | None,
    keypoints: np.ndarray | None,
    row: int,
    scale: float,
    is_truth: bool,
) -> Shape:
    if collector.iou_type == "segm" and masks is not None:
        return mask_shape(coco_mask.decode(masks.encoded(row)), scale)
    if collector.iou_type == "keypoints" and keypoints is not None and len(keypoints[row]):
        points = keypoints[row]
        # A detection says where each keypoint is; an object states which of them are labeled.
        is_shown = points[:, 2] > 0 if is_truth else np.ones(len(points), dtype=bool)
        return keypoint_shape(points[:, :2], is_shown, collector.ground_truth.categories[category].skeleton)
    return Shape()
