"""A confusion matrix: how often each class was taken for each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BACKGROUND = "background"
"""The name of the last row, detections without an object, and of the last column, objects without a detection."""


@dataclass(frozen=True, eq=False)
class ConfusionMatrix:
    """Counts by true class, in rows, and by predicted class, in columns.

    Args:
        names: of the K classes, and last `BACKGROUND` where there is one.
        counts: int64 ``(K, K)``, or ``(K + 1, K + 1)`` with the background.
        counted: what is counted, ``images`` or ``objects``.
        conditions: a phrase that says what counts, such as the least IoU; empty where all does.
    """

    names: Sequence[str]
    counts: np.ndarray
    counted: str
    conditions: str = ""

    @property
    def background(self) -> int | None:
        """The row and column of the background; None in a matrix of images, where all names are classes."""
        return len(self.names) - 1 if self.counted == "objects" else None

    @property
    def shares(self) -> np.ndarray:
        """``(…)`` each count as a share of its row; 0 in a row without any."""
        return self.counts / np.maximum(self.counts.sum(axis=1, keepdims=True), 1)

    def most_confused(self, most: int) -> list[tuple[int, int]]:
        """The rows and columns of the greatest counts off the diagonal, at most so many, without zeros."""
        wrong = self.counts - np.diag(np.diag(self.counts))
        order = np.argsort(-wrong, axis=None, kind="stable")[:most]
        places = [divmod(int(index), len(self.names)) for index in order]
        return [(row, column) for row, column in places if wrong[row, column]]
