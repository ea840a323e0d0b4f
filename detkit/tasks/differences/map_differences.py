"""`MapDifferences`: the classes of pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detkit.structures import Category, SemanticMap
from detkit.structures.image_fields import IGNORE_INDEX
from detkit.tasks.differences.answer_differences import AnswerDifferences, DifferenceCollector, Largest, LargestOf

SHARE = 1e-4
"""The share of the pixels of an image in which rounding may decide between two classes."""

_MOST = 0.5  # of the pixels of a class, from which on it is another class


class MapDifferences(DifferenceCollector):
    """Compares the label maps of the same images.

    Args:
        categories: the class of each label.
        tolerance: how many times as much as in float32 rounding may change.
    """

    def __init__(self, categories: Sequence[Category], tolerance: float = 1.0) -> None:
        self.names = [category.name for category in categories]
        self.limit = SHARE * tolerance
        self.largest = LargestOf()
        self.confusion = np.zeros((len(categories) + 1, len(categories) + 1), np.int64)
        self.images = self.pixels = self.differing = 0

    def add(self, image_id: Any, size: tuple[int, int], expected: SemanticMap, given: SemanticMap) -> None:
        """See `DifferenceCollector.add`."""
        self.images += 1
        self.pixels += expected.label_map.numel()
        if expected.label_map.shape != given.label_map.shape:
            where = f"{tuple(given.label_map.shape)} pixels in place of {tuple(expected.label_map.shape)}"
            self.differing += expected.label_map.numel()
            self.largest.add(Largest("label_map", 1.0, "of the pixels", self.limit, image_id, where), self.pixels)
            return
        first, second = self._labels(expected), self._labels(given)
        np.add.at(self.confusion, (first, second), 1)
        differs = first != second
        count, share = int(differs.sum()), float(differs.mean()) if differs.size else 0.0
        self.differing += count
        one = Largest("label_map", share, "of the pixels", self.limit, image_id, self._where(first, second))
        self.largest.add(one, count if share > self.limit else 0)

    def result(self) -> AnswerDifferences:
        """See `DifferenceCollector.result`."""
        counts = {"pixels": self.pixels, "of another class": self.differing}
        return AnswerDifferences(self.images, self.pixels, self.largest.all(), counts, causes=tuple(self._causes()))

    def _causes(self) -> list[str]:
        """A sentence on the classes of which most pixels are of another class in the file."""
        totals = self.confusion.sum(axis=1)
        moved = self.confusion * ~np.eye(len(totals), dtype=bool)
        swapped = [
            f"{self._name(label)} is {self._name(int(moved[label].argmax()))} in {moved[label].max()} of {total} pixels"
            for label, total in enumerate(totals.tolist())
            if moved[label].max() > _MOST * total
        ]
        if len(swapped) < 2:  # a single one may be a rare class that is lost in lower precision
            return []
        return [f"classes are swapped: {', '.join(swapped[:4])}{' …' if len(swapped) > 4 else ''}"]

    def _where(self, first: np.ndarray, second: np.ndarray) -> str:
        """``road in place of sky in 12 pixels, first at (3, 7)``, of the pair of classes that differs most."""
        rows, columns = np.nonzero(first != second)
        if not len(rows):
            return ""
        pairs = first[rows, columns] * len(self.confusion) + second[rows, columns]
        values, counts = np.unique(pairs, return_counts=True)
        pair, count = int(values[counts.argmax()]), int(counts.max())
        place = int(np.flatnonzero(pairs == pair)[0])
        own, other = divmod(pair, len(self.confusion))
        x, y = int(columns[place]), int(rows[place])
        return f"{self._name(other)} in place of {self._name(own)} in {count} pixels, such as ({x}, {y})"

    def _labels(self, answer: SemanticMap) -> np.ndarray:
        """``(H, W)`` int64, the last one more for pixels without a class."""
        labels = answer.label_map.cpu().numpy().astype(np.int64)
        known = len(self.names)
        is_known = (labels != IGNORE_INDEX[answer.label_map.dtype]) & (labels >= 0) & (labels < known)
        return np.where(is_known, labels, known)

    def _name(self, label: int) -> str:
        return self.names[label] if label < len(self.names) else "no class"
