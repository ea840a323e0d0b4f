"""Matched detections of a VOC evaluation, and the curves that they make with weighted images."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.evaluation.weighting.image_weighting import ImageWeighting, MeasuredData, WeightedNumbers

Average = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True, eq=False)
class VocMatches:
    """Which of D detections are true, ordered by class, best first, and the M objects to detect.

    Args:
        images: int64 ``(D,)`` the image of each detection.
        correct: bool ``(D,)`` the true positives.
        wrong: bool ``(D,)`` the false positives.
        ends: int64 ``(K + 1,)`` where the detections of each class begin.
        object_images: int64 ``(M,)``.
        object_classes: int64 ``(M,)``.
    """

    images: np.ndarray
    correct: np.ndarray
    wrong: np.ndarray
    ends: np.ndarray
    object_images: np.ndarray
    object_classes: np.ndarray

    def curves(self, weights: np.ndarray | None = None) -> tuple[list[np.ndarray], list[np.ndarray], np.ndarray]:
        """For each class recall and precision over its detections, and the number of objects of each class ``(K,)``.

        Args:
            weights: float64 ``(I,)`` how often each image counts; None: once.
        """
        classes = len(self.ends) - 1
        each = 1 if weights is None else weights[self.images]
        counts = np.bincount(
            self.object_classes, None if weights is None else weights[self.object_images], minlength=classes
        )
        correct, wrong = self.correct * each, self.wrong * each
        recall, precision = [], []
        for k in range(classes):
            hits = correct[self.ends[k] : self.ends[k + 1]].cumsum()
            counted = hits + wrong[self.ends[k] : self.ends[k + 1]].cumsum()
            recall.append(hits / max(counts[k], 1))
            precision.append(hits / np.maximum(counted, 1))
        return recall, precision, counts

    def average_precision(self, average: Average, weights: np.ndarray | None = None) -> np.ndarray:
        """``(K,)`` the average precision of each class, -1 where it has no objects."""
        recall, precision, counts = self.curves(weights)
        return np.array(
            [average(recall[k], precision[k]) if counts[k] else NOTHING_TO_MEASURE for k in range(len(counts))]
        )


class WeightedVoc(ImageWeighting):
    """VOC's mean average precision of matched detections.

    Args:
        data: what was measured.
        matches: the detections.
        average: the average precision of a class from recall and precision.
    """

    def __init__(self, data: MeasuredData, matches: VocMatches, average: Average) -> None:
        self.data, self.matches, self.average = data, matches, average

    def numbers(self, weights: np.ndarray, by_class: bool = False) -> WeightedNumbers:
        """``mAP``, and ``AP`` of each class."""
        classes = self.matches.average_precision(self.average, weights)
        measured = classes[classes > NOTHING_TO_MEASURE]
        mean = float(measured.mean()) if len(measured) else NOTHING_TO_MEASURE
        return WeightedNumbers({"mAP": mean}, {"AP": classes} if by_class else {})
