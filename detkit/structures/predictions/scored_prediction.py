"""`ScoredPrediction`, the base class of predictions that are rows of a label and a score each."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch import Tensor

from detkit.structures.predictions.prediction import Prediction, conversions

if TYPE_CHECKING:
    from pandas import DataFrame


class ScoredPrediction(Prediction):
    """Base class of predictions with labels and scores.

    Attributes:
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``.
    """

    scores: Tensor
    labels: Tensor

    @property
    def names(self) -> list[str]:
        """The name of the class of each.

        Raises:
            InputError: the categories are unknown, or lack a label.
        """
        return [category.name for category in self.known_categories()]

    def predicted_labels(self) -> list[int]:
        """The label of each of the N predictions."""
        labels: list[int] = self.labels.tolist()
        return labels

    def to_pandas(self) -> DataFrame:
        """A table with a row for each.

        The columns are ``name`` (where the categories are known), ``label`` and ``score``. Detections also have ``x1``,
        ``y1``, ``x2``, ``y2`` in pixels, ``mask_area`` in pixels where they have masks, and ``NAME_x``, ``NAME_y`` and
        ``NAME_score`` for each keypoint.

        Raises:
            InputError: pandas is not installed.
        """
        return conversions().to_pandas(self)
