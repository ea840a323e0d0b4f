"""The result of an evaluation of label maps, and its numbers where images are weighted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detkit.evaluation.confusion.confusion_matrix import ConfusionMatrix
from detkit.evaluation.semantic.class_pixels import ClassPixels, class_values, mean_values
from detkit.evaluation.weighting.image_weighting import ImageWeighting, MeasuredData, WeightedNumbers
from detkit.structures import Category

NO_CLASS = "no class"
"""The name of the last row and column of a confusion matrix in which some answers have no class."""


@dataclass(frozen=True, eq=False)
class SemanticEvaluation:
    """The result of an evaluation of label maps.

    Args:
        categories: the T classes, sorted by id.
        confusion: int64 ``(T, T + 1)`` pixels by true class, in rows, and by predicted class, in columns; the last
            column counts those whose answer has no class. Void pixels of the truth do not count.
        images: ``(T,)`` the number of images whose truth has the class.
        boundary: the pixels near boundaries; None: not computed.
    """

    categories: Sequence[Category]
    confusion: np.ndarray
    images: np.ndarray
    boundary: ClassPixels | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """``mIoU``, ``fwIoU``, ``mAcc``, ``aAcc`` and ``mDice`` in 0..1, -1 where there is nothing to measure."""
        return mean_values(ClassPixels.of_confusion(self.confusion), self.boundary)

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: ``IoU``, ``Acc`` and ``Dice``, -1 where the class is absent, and the numbers of ``pixels`` and
        ``images`` of the truth."""
        pixels = ClassPixels.of_confusion(self.confusion)
        values = class_values(pixels, self.boundary)
        return {
            category.name: {name: float(one[k]) for name, one in values.items()}
            | {"pixels": int(pixels.truth[k]), "images": int(self.images[k])}
            for k, category in enumerate(self.categories)
        }

    @property
    def confusion_matrix(self) -> ConfusionMatrix:
        """The confusion matrix ``(T, T)`` with names; one row and column more where some answers have no class."""
        names, counts = [category.name for category in self.categories], self.confusion[:, :-1]
        if self.confusion[:, -1].any():
            names, counts = [*names, NO_CLASS], np.pad(self.confusion, ((0, 1), (0, 0)))
        return ConfusionMatrix(names, counts, "pixels")


class WeightedSemantic(ImageWeighting):
    """The numbers of weighted images: of the weighted sums of their pixels.

    Args:
        data: what was measured.
        pixels: of each image, ``(I, T)`` each.
        boundary: likewise near the boundaries; None: not computed.
    """

    def __init__(self, data: MeasuredData, pixels: ClassPixels, boundary: ClassPixels | None) -> None:
        self.data, self.pixels, self.boundary = data, pixels, boundary

    def numbers(self, weights: np.ndarray, by_class: bool = False) -> WeightedNumbers:
        """As of `SemanticEvaluation`. All sums are whole numbers below 2^53, and so exact."""
        pixels = _summed(self.pixels, weights)
        boundary = None if self.boundary is None else _summed(self.boundary, weights)
        return WeightedNumbers(mean_values(pixels, boundary), class_values(pixels, boundary) if by_class else {})


def _summed(pixels: ClassPixels, weights: np.ndarray) -> ClassPixels:
    return ClassPixels(weights @ pixels.hits, weights @ pixels.truth, weights @ pixels.answered)
