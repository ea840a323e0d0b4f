"""The numbers of semantic segmentation from three counts of pixels of each class."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE


@dataclass(frozen=True, eq=False)
class ClassPixels:
    """Pixels of each of T classes, void ones of the truth left out; the last axis of each array is ``(T,)``.

    Args:
        hits: those of the class in the truth and in the answer.
        truth: those of the class in the truth.
        answered: those of the class in the answer.
    """

    hits: np.ndarray
    truth: np.ndarray
    answered: np.ndarray

    @classmethod
    def of_confusion(cls, counts: np.ndarray) -> ClassPixels:
        """From a confusion matrix ``(R, T + 1)``, whose last column counts answers without a class and whose rows from
        T on, if any, count pixels of none of the classes."""
        classes = counts.shape[1] - 1
        return cls(np.diagonal(counts).copy()[:classes], counts.sum(axis=1)[:classes], counts.sum(axis=0)[:classes])

    def iou(self) -> np.ndarray:
        """The intersection over union; -1 for a class that neither map has."""
        return _ratio(self.hits, self.truth + self.answered - self.hits)

    def accuracy(self) -> np.ndarray:
        """The share of the pixels of the class that the answer has right; -1 for a class that the truth has not."""
        return _ratio(self.hits, self.truth)

    def dice(self) -> np.ndarray:
        """Twice the intersection over the sum of both areas (Dice 1945); -1 for a class that neither map has."""
        return _ratio(2 * self.hits, self.truth + self.answered)


def _ratio(numerator: np.ndarray, denominator: np.ndarray) -> np.ndarray:
    """float64; -1 where there is nothing to divide by."""
    nothing = np.full(np.shape(denominator), NOTHING_TO_MEASURE)
    return np.divide(numerator, denominator, out=nothing, where=np.asarray(denominator) > 0)


def mean_of(values: np.ndarray) -> float:
    """The mean over the classes that have a value; -1 where none has."""
    measured = values[values > NOTHING_TO_MEASURE]
    return float(measured.mean()) if len(measured) else NOTHING_TO_MEASURE


def class_values(pixels: ClassPixels, boundary: ClassPixels | None) -> dict[str, np.ndarray]:
    """The numbers of each class by name, ``(T,)`` each; the boundary's pixels give ``BoundaryIoU``."""
    values = {"IoU": pixels.iou(), "Acc": pixels.accuracy(), "Dice": pixels.dice()}
    return values if boundary is None else values | {"BoundaryIoU": boundary.iou()}


def mean_values(pixels: ClassPixels, boundary: ClassPixels | None) -> dict[str, float]:
    """The numbers of all classes by name, -1 where there is nothing to measure.

    ``mIoU``, ``mAcc`` and ``mDice`` are means over classes. ``fwIoU`` weights the classes by their pixels in the truth,
    ``aAcc`` is the share of pixels that are right (Long 2015, section 5).
    """
    values, total = class_values(pixels, boundary), float(pixels.truth.sum())
    in_truth = pixels.truth > 0
    weighted = float((pixels.truth[in_truth] * values["IoU"][in_truth]).sum())
    numbers = {
        "mIoU": mean_of(values["IoU"]),
        "fwIoU": weighted / total if total else NOTHING_TO_MEASURE,
        "mAcc": mean_of(values["Acc"]),
        "aAcc": float(pixels.hits.sum()) / total if total else NOTHING_TO_MEASURE,
        "mDice": mean_of(values["Dice"]),
    }
    return numbers if boundary is None else numbers | {"mBoundaryIoU": mean_of(values["BoundaryIoU"])}
