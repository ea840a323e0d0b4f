"""Panoptic quality of matched segments, and of those of weighted images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.evaluation.weighting.image_weighting import ImageWeighting, MeasuredData, WeightedNumbers
from detkit.structures import Category


@dataclass(frozen=True, eq=False)
class PanopticEvaluation:
    """The result of an evaluation of panoptic maps.

    Args:
        categories: the T classes, sorted by id.
        iou: ``(T,)`` the sum of the IoUs of matched segments of each class.
        counts: ``(T, 3)`` true positives, false positives and false negatives of each class.
    """

    categories: Sequence[Category]
    iou: np.ndarray
    counts: np.ndarray

    @property
    def metrics(self) -> dict[str, float]:
        """``PQ``, ``SQ`` and ``RQ`` in 0..1, of all classes, of things and of stuff: the means over the classes with a
        segment in the truth or among the answers; -1 where there are none."""
        return qualities(self.iou, self.counts, is_thing_of(self.categories))

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: ``PQ``, ``SQ`` and ``RQ``, -1 without segments, and ``TP``, ``FP`` and ``FN``."""
        values = class_qualities(self.iou, self.counts)
        return {
            category.name: {name: float(one[k]) for name, one in values.items()}
            | {name: int(count) for name, count in zip(("TP", "FP", "FN"), self.counts[k], strict=True)}
            for k, category in enumerate(self.categories)
        }


def is_thing_of(categories: Sequence[Category]) -> np.ndarray:
    """bool ``(T,)``."""
    return np.array([category.is_thing for category in categories], dtype=bool)


def class_qualities(iou: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    """``PQ``, ``SQ`` and ``RQ`` of each class ``(T,)``, -1 for one without segments (Kirillov 2019, equations 1 and 2).

    Segmentation quality, the mean IoU of matched segments, is 0 where none is matched, as in COCO's panopticapi.
    """
    right, wrong, missed = counts.T
    segments = right + (wrong + missed) / 2
    is_measured = segments > 0

    def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        values = np.divide(part, whole, out=np.zeros(len(iou)), where=whole > 0)
        return np.where(is_measured, values, NOTHING_TO_MEASURE)

    return {"PQ": ratio(iou, segments), "SQ": ratio(iou, right), "RQ": ratio(right, segments)}


def qualities(iou: np.ndarray, counts: np.ndarray, is_thing: np.ndarray) -> dict[str, float]:
    """The means over the classes of ``class_qualities``: of all, and of things and stuff alone."""
    values = class_qualities(iou, counts)
    is_measured = values["PQ"] > NOTHING_TO_MEASURE
    parts = {"": np.ones_like(is_thing), "_things": is_thing, "_stuff": ~is_thing}
    return {
        name + part: float(one[is_measured & members].mean()) if (is_measured & members).any() else NOTHING_TO_MEASURE
        for part, members in parts.items()
        for name, one in values.items()
    }


class WeightedPanoptic(ImageWeighting):
    """Panoptic quality of weighted images: of the weighted sums of their segments.

    Args:
        data: what was measured.
        is_thing: bool ``(T,)`` of each class.
        iou: ``(I, T)`` of each image, as of `PanopticEvaluation`.
        counts: ``(I, T, 3)``.
    """

    def __init__(self, data: MeasuredData, is_thing: np.ndarray, iou: np.ndarray, counts: np.ndarray) -> None:
        self.data, self.is_thing, self.iou, self.counts = data, is_thing, iou, counts

    def numbers(self, weights: np.ndarray, by_class: bool = False) -> WeightedNumbers:
        """As of `PanopticEvaluation`."""
        iou = weights @ self.iou
        counts = np.tensordot(weights, self.counts, axes=1)
        return WeightedNumbers(qualities(iou, counts, self.is_thing), class_qualities(iou, counts) if by_class else {})
