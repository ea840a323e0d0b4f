"""`ClassDifferences`: the probabilities of classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

from detkit.structures import Category, Classification
from detkit.tasks.differences.answer_differences import AnswerDifferences, DifferenceCollector, Largest, LargestOf
from detkit.tasks.differences.detection_differences import relabeling

PROBABILITIES = 1e-3
"""What rounding may change."""


class ClassDifferences(DifferenceCollector):
    """Compares the classes of the same images.

    Args:
        categories: the class of each label.
        tolerance: how many times as much as in float32 rounding may change.
    """

    def __init__(self, categories: Sequence[Category], tolerance: float = 1.0) -> None:
        self.names = [category.name for category in categories]
        self.limit = PROBABILITIES * tolerance
        self.labels: Counter[int] = Counter()
        self.largest = LargestOf()
        self.relabeled: dict[tuple[int, int], int] = {}
        self.images = self.other_class = 0

    def add(self, image_id: Any, size: tuple[int, int], expected: Classification, given: Classification) -> None:
        """See `DifferenceCollector.add`."""
        self.images += 1
        scores = dict(zip(given.labels.tolist(), given.scores.tolist(), strict=True))
        for label, score in zip(expected.labels.tolist(), expected.scores.tolist(), strict=True):
            own = scores.get(label, 0.0)
            where = f"{self._name(label)} {own:.3f} in place of {score:.3f}"
            one = Largest("probabilities", abs(score - own), "", self.limit, image_id, where)
            self.largest.add(one, int(not one.excess <= 1))
        first, second = int(expected.labels[0]), int(given.labels[0])
        self.labels[first] += 1
        if first == second:
            return
        self.other_class += 1
        best, own_best = float(expected.scores[0]), float(given.scores[0])
        if abs(best - own_best) < 2 * self.limit < best - scores.get(first, 0.0):
            self.relabeled[first, second] = self.relabeled.get((first, second), 0) + 1

    def result(self) -> AnswerDifferences:
        """See `DifferenceCollector.result`."""
        counts = {"images": self.images, "with another best class": self.other_class}
        causes = tuple(relabeling(self.relabeled, self.labels, self.names))
        return AnswerDifferences(self.images, self.images, self.largest.all(), counts, causes=causes)

    def _name(self, label: int) -> str:
        return self.names[label] if 0 <= label < len(self.names) else f"label {label}"
