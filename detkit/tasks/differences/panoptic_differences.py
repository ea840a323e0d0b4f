"""`PanopticDifferences`: the objects of panoptic maps in pairs, and the classes of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detkit.structures import Category, PanopticMap
from detkit.tasks.differences.answer_differences import AnswerDifferences, DifferenceCollector
from detkit.tasks.differences.detection_differences import DetectionDifferences
from detkit.tasks.differences.map_differences import MapDifferences


class PanopticDifferences(DifferenceCollector):
    """Compares the detections and the classes of pixels of the same images.

    Args:
        categories: the class of each label.
        tolerance: how many times as much as in float32 rounding may change.
    """

    def __init__(self, categories: Sequence[Category], tolerance: float = 1.0) -> None:
        self.detections, self.maps = DetectionDifferences(categories, tolerance), MapDifferences(categories, tolerance)

    def add(self, image_id: Any, size: tuple[int, int], expected: PanopticMap, given: PanopticMap) -> None:
        """See `DifferenceCollector.add`."""
        self.detections.add(image_id, size, expected.detections, given.detections)
        self.maps.add(image_id, size, expected.semantic, given.semantic)

    def result(self) -> AnswerDifferences:
        """See `DifferenceCollector.result`."""
        objects, pixels = self.detections.result(), self.maps.result()
        return AnswerDifferences(
            objects.images,
            objects.predictions,
            (*objects.largest, *pixels.largest),
            {**objects.counts, **pixels.counts},
            objects.unpaired,
            objects.borderline,
            (*objects.causes, *pixels.causes),
        )
