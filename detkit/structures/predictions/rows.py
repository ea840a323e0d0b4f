"""The rows of a prediction: by an integer, and by the name of their class."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from typing import SupportsIndex, TypeGuard

import numpy as np
from torch import Tensor

from detkit.structures.categories import Category
from detkit.structures.predictions.scored_prediction import ScoredPrediction


def is_row(index: object) -> TypeGuard[int]:
    """Whether `index` is an integer, also one of NumPy."""
    return isinstance(index, SupportsIndex) and not isinstance(index, (bool, np.ndarray, Tensor))


def row_of(index: int, count: int) -> int:
    """The row in ``0..count-1`` of an integer index, negative ones from the end.

    Raises:
        IndexError: it is out of range.
    """
    row = operator.index(index)
    if not -count <= row < count:
        raise IndexError(f"index {row} is out of range for {count} predictions")
    return row % count


def name_of(label: int, categories: Sequence[Category] | None) -> str | None:
    """The name of a label; None where it is unknown."""
    return None if categories is None or not 0 <= label < len(categories) else categories[label].name


def rows_named(prediction: ScoredPrediction) -> list[str]:
    """The name of the class of each row, or its label where that is unknown, for people to read."""
    labels = prediction.labels.tolist()
    return [name_of(label, prediction.categories) or f"label {label}" for label in labels]
