"""`SemanticMap`: the class of each pixel of one image."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import torch
from torch import Tensor

from detkit.structures.image_fields import IGNORE_INDEX, LabelMap
from detkit.structures.predictions.image_source import ImageSource, OfImage
from detkit.structures.predictions.prediction import Prediction, conversions
from detkit.structures.predictions.rows import name_of

if TYPE_CHECKING:
    from pandas import DataFrame


@dataclass(frozen=True, eq=False, repr=False)
class SemanticMap(Prediction):
    """The predicted class of each pixel of one image.

    Args:
        label_map: ``(H, W)`` uint8 at the size of the image, the class of each pixel in ``0..K-1``, 255 where it has
            none; int16 and -1 where there are more than 254 classes.
        source: the image and the categories, which `predict` adds.

    Raises:
        TypeError, ValueError: the map has the wrong dtype or shape.
    """

    label_map: Annotated[Tensor, LabelMap()]
    source: Annotated[ImageSource | None, OfImage()] = field(default=None, kw_only=True)

    def pixels(self) -> dict[int, int]:
        """The number of pixels of each label that occurs, most frequent first."""
        values = self.label_map.flatten().int()
        ignored = IGNORE_INDEX[self.label_map.dtype]
        counts = torch.bincount(values[values != ignored]).tolist()
        return dict(sorted(((label, count) for label, count in enumerate(counts) if count), key=lambda one: -one[1]))

    def predicted_labels(self) -> list[int]:
        """The labels that occur, most frequent first."""
        return list(self.pixels())

    def to_pandas(self) -> DataFrame:
        """A table with a row for each class that occurs, most frequent first.

        The columns are ``name`` (where the categories are known), ``label``, ``pixels`` and ``share`` (of the image).

        Raises:
            InputError: pandas is not installed.
        """
        return conversions().pixels_to_pandas(self)

    def __repr__(self) -> str:
        """The size and the share of each class, such as ``480 x 640 pixels: road 61 %, sky 39 %``."""
        height, width = self.label_map.shape
        counts = self.pixels()
        shares = [
            f"{name_of(label, self.categories) or f'label {label}'} {100 * count / (height * width):.0f} %"
            for label, count in counts.items()
        ]
        listed = ", ".join(shares[:10]) + (", …" if len(shares) > 10 else "")
        return f"{height} x {width} pixels" + (f": {listed}" if shares else "")
