"""`Prediction`, the base class of predictions that know their image: they are converted, drawn and written."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import RunLengths, rle_to_masks
from detkit.structures.categories import Category
from detkit.structures.fields import Fields
from detkit.structures.predictions.image_source import ImageSource

if TYPE_CHECKING:
    from PIL.Image import Image


def conversions() -> Any:
    """The room of conversions and drawings, which stands far above; it is imported at the first use of one."""
    return importlib.import_module("detkit.results")


class Prediction(Fields):
    """Base class of predictions.

    Attributes:
        source: the image and the categories, where `predict` or `of_image` gave them.
    """

    source: ImageSource | None

    def of_image(
        self, image: str | Path | np.ndarray | Tensor | Image, categories: Sequence[Category] | None = None
    ) -> Self:
        """A copy that knows its image, for predictions that `predict` did not make.

        Args:
            image: a file, a uint8 RGB array ``(H, W, 3)``, an RGB tensor ``(3, H, W)`` or a PIL image; not copied.
            categories: ``categories[k]`` names label ``k``; None: those that are known already.
        """
        is_file = isinstance(image, (str, Path))
        known = self.categories if categories is None else categories
        name = str(image) if is_file else None
        return replace(self, source=ImageSource(Path(image) if is_file else image, name, categories=known))  # type: ignore[arg-type, type-var]

    @property
    def categories(self) -> Sequence[Category] | None:
        """The category of each label; None: unknown."""
        return None if self.source is None else self.source.categories

    def predicted_labels(self) -> list[int]:
        """The labels that occur in the prediction, each of which needs a category."""
        raise NotImplementedError

    def known_categories(self) -> list[Category]:
        """The category of each of `predicted_labels`.

        Raises:
            InputError: the categories are unknown, or lack a label.
        """
        categories = self.categories
        if categories is None:
            raise InputError(
                f"these {type(self).__name__} do not know the categories of their labels: make them with "
                "model.predict, or give them with of_image(image, categories)"
            )
        labels = self.predicted_labels()
        unknown = next((label for label in labels if not 0 <= label < len(categories)), None)
        if unknown is not None:
            raise InputError(f"label {unknown} has no name among {len(categories)} categories; give the model's")
        return [categories[label] for label in labels]

    @property
    def image(self) -> np.ndarray:
        """The pixels ``(H, W, 3)``, uint8 RGB; a file is read again.

        Raises:
            InputError: the image is unknown, or its file cannot be read.
        """
        pixels: np.ndarray = conversions().image_of(self)
        return pixels

    def to_numpy(self) -> dict[str, np.ndarray]:
        """The fields as arrays, by name; masks are bool ``(N, H, W)``. Fields that are None are left out,
        and so are meshes, whose arrays are those of ``meshes.vertices_list()`` and ``meshes.faces_list()``."""
        values = {name: getattr(self, name) for name in self.kinds()}
        return {
            name: (rle_to_masks(value) if isinstance(value, RunLengths) else value.detach().cpu()).numpy()
            for name, value in values.items()
            if isinstance(value, (Tensor, RunLengths))
        }

    def plot(self, score_threshold: float | None = None) -> np.ndarray:
        """A copy of the image with the prediction drawn into it, uint8 RGB ``(H, W, 3)``.

        Args:
            score_threshold: detections below it are not drawn; None: that of `predict`, or 0.5 where it had none.

        Raises:
            InputError: the image or the categories are unknown.
        """
        drawn: np.ndarray = conversions().plot(self, score_threshold)
        return drawn

    def show(self, score_threshold: float | None = None) -> None:
        """Show `plot` below the cell of a notebook, or in a window of the system's image viewer.

        Raises:
            InputError: as of `plot`, or there is no image viewer.
        """
        conversions().show(self, score_threshold)

    def save(self, path: str | Path, score_threshold: float | None = None) -> None:
        """Write `plot` to an image file; the suffix chooses the format.

        Raises:
            InputError: as of `plot`, or the format cannot be written.
        """
        conversions().write_plot(self, path, score_threshold)
