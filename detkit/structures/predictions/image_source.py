"""What a prediction knows of its origin: the image, and the categories of its labels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from detkit.geometry import Placement
from detkit.structures.categories import Category
from detkit.structures.kind import Kind, Swaps

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, eq=False, repr=False)
class ImageSource:
    """The image of a prediction and the categories of its labels.

    Args:
        image: a path, the content of an image file, a uint8 RGB array, an RGB tensor or a PIL image; None: unknown.
        name: the path or URL that it was given by; None for pixels.
        frame: its number in a video, from 0; None for an image.
        categories: ``categories[k]`` names label ``k``; None: unknown.
        score_threshold: scores below it were left out; None: none were.
    """

    image: Path | bytes | np.ndarray | Tensor | Image | None = None
    name: str | None = None
    frame: int | None = None
    categories: Sequence[Category] | None = None
    score_threshold: float | None = None


class OfImage(Kind):
    """The `ImageSource` of a prediction; in the frame of another image, only what does not depend on the pixels."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        if not isinstance(value, ImageSource):
            raise TypeError(f"{owner} must be an ImageSource, got {type(value).__name__}")

    def move(self, value: ImageSource, placement: Placement, swaps: Swaps) -> ImageSource:
        return value if placement.is_identity else replace(value, image=None)

    def pack(self, value: ImageSource) -> ImageSource:
        return replace(value, image=None)  # other processes need no pixels
