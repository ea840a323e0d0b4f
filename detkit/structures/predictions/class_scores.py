"""`Classification`: the predicted classes of one image as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Annotated, Self, cast, overload

import torch
from torch import Tensor

from detkit.structures.object_fields import Rows
from detkit.structures.predictions.image_source import ImageSource, OfImage
from detkit.structures.predictions.rows import is_row, name_of, row_of, rows_named
from detkit.structures.predictions.scored_prediction import ScoredPrediction


@dataclass(frozen=True)
class ScoredClass:
    """One class of a `Classification`.

    Args:
        label: in ``0..K-1``.
        score: in [0, 1].
        name: of the class; None: the categories are unknown.
    """

    label: int
    score: float
    name: str | None


@dataclass(frozen=True, eq=False, repr=False)
class Classification(ScoredPrediction):
    """The predicted classes of one image as a whole.

    Args:
        scores: ``(N,)`` float32 in [0, 1], best first.
        labels: ``(N,)`` int64 in ``0..K-1``, each class once.
        source: the image and the categories, which `predict` adds.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    scores: Annotated[Tensor, Rows(torch.float32)]
    labels: Annotated[Tensor, Rows(torch.int64)]
    source: Annotated[ImageSource | None, OfImage()] = field(default=None, kw_only=True)

    @overload
    def __getitem__(self, index: int) -> ScoredClass: ...

    @overload
    def __getitem__(self, index: Tensor | slice) -> Self: ...

    def __getitem__(self, index: int | Tensor | slice) -> ScoredClass | Self:
        """One class for an integer, best first; a copy with the selected ones for a mask, index tensor or slice."""
        if not is_row(index):
            return super().__getitem__(cast(Tensor, index))
        row = row_of(index, len(self))
        label = int(self.labels[row])
        return ScoredClass(label, float(self.scores[row]), name_of(label, self.categories))

    def __iter__(self) -> Iterator[ScoredClass]:
        """Each class, best first."""
        return (self[row] for row in range(len(self)))

    def __repr__(self) -> str:
        """The classes and scores, such as ``2 classes: tabby 0.83, tiger cat 0.11``."""
        pairs = [f"{name} {score:.2f}" for name, score in zip(rows_named(self), self.scores.tolist(), strict=True)]
        listed = ", ".join(pairs[:5]) + (" …" if len(pairs) > 5 else "")
        return f"{len(pairs)} {'class' if len(pairs) == 1 else 'classes'}" + (f": {listed}" if pairs else "")
