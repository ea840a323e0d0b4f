"""What an evaluator gives for resampling: its numbers where each image counts as often as a weight says."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE


@dataclass(frozen=True, eq=False)
class MeasuredData:
    """What was measured: two evaluations of equal data can be compared image by image.

    Args:
        source: how messages name it.
        image_ids: the I images, in the order of the weights.
        classes: the names of the K classes.
        images: int64 ``(N,)`` the image of each object, or of each other thing to answer, as a position.
        labels: int64 ``(N,)`` its class.
        values: float64 ``(N, V)`` all else of it that the numbers depend on, such as its box.
        image_names: the file name by image id, where it is known.
        settings: by name, what else the numbers depend on, such as a threshold.
    """

    source: str
    image_ids: Sequence[Any]
    classes: Sequence[str]
    images: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    image_names: Mapping[Any, str] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightedNumbers:
    """The numbers of an evaluation.

    Args:
        of_all: by name, -1 where there is nothing to measure.
        by_class: by name, of each class ``(K,)``.
    """

    of_all: dict[str, float]
    by_class: dict[str, np.ndarray]


class ImageWeighting(ABC):
    """An evaluation whose images can be weighted, without doing all of it again.

    Attributes:
        data: what was measured.
    """

    data: MeasuredData

    @abstractmethod
    def numbers(self, weights: np.ndarray, by_class: bool = False) -> WeightedNumbers:
        """The numbers of the data set in which image ``i`` is ``weights[i]`` times.

        Args:
            weights: float64 ``(I,)`` whole numbers, by position in ``data.image_ids``.
            by_class: whether those of the classes are needed.
        """


class ImageMeans(ImageWeighting):
    """Numbers that are means over the images.

    Args:
        data: what was measured.
        values: for each number its value in each image ``(I,)``.
        labels: int64 ``(I,)`` the class of each image; None where images have none.
    """

    def __init__(self, data: MeasuredData, values: Mapping[str, np.ndarray], labels: np.ndarray | None = None) -> None:
        self.data, self.labels = data, labels
        self.values = {name: np.asarray(one, dtype=np.float64) for name, one in values.items()}

    def numbers(self, weights: np.ndarray, by_class: bool = False) -> WeightedNumbers:
        """The weighted means."""
        total = weights.sum()
        of_all = {
            name: float(weights @ one / total) if total else NOTHING_TO_MEASURE for name, one in self.values.items()
        }
        if not by_class or self.labels is None:
            return WeightedNumbers(of_all, {})
        classes = len(self.data.classes)
        totals = np.bincount(self.labels, weights, minlength=classes)
        sums = {name: np.bincount(self.labels, weights * one, minlength=classes) for name, one in self.values.items()}
        means = {
            name: np.divide(one, totals, out=np.full(classes, NOTHING_TO_MEASURE), where=totals > 0)
            for name, one in sums.items()
        }
        return WeightedNumbers(of_all, means)


def drawn_weights(images: int, samples: int, seed: int = 0) -> Iterator[np.ndarray]:
    """How often each image is in each of `samples` data sets, drawn with replacement: float64 ``(I,)`` each."""
    random = np.random.default_rng(seed)
    for _ in range(samples):
        yield np.bincount(random.integers(images, size=images), minlength=images).astype(np.float64)
