"""`ShortestEdge` and `SmoothShortestEdge`, the preprocessing of two-stage detectors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from detkit.geometry import Placement, Size
from detkit.preprocess.interpolation import resize
from detkit.preprocess.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, takes_batches


class ShortestEdge(Preprocess):
    """Resizes the shorter side to a fixed length, normalizes, and pads the batch to a common size.

    Sizes are rounded down, as in torchvision, so that its published weights get the same pixels.

    Args:
        min_size: length of the shorter side in pixels.
        max_size: maximum length of the longer side; it may make the shorter side less than `min_size`.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
        divisor: the padded height and width are multiples of this.
    """

    rounding = 0.0
    antialias = False

    def __init__(
        self,
        min_size: int = 800,
        max_size: int = 1333,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        divisor: int = 32,
    ) -> None:
        super().__init__(mean, std, divisor)
        self.min_size, self.max_size = min_size, max_size

    def place(self, size: Size) -> Placement:
        """The whole image, scaled."""
        scale = min(self.min_size / min(size), self.max_size / max(size))
        height, width = (max(1, math.floor(side * scale + self.rounding)) for side in size)
        return Placement.resize(size, (height, width))

    @takes_batches
    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """Normalized, then resized bilinearly."""
        return resize(self._normalized(image), placement.size, self.antialias)

    def facts(self) -> dict[str, Any]:
        """A side becomes ``floor(side * scale + rounding)``."""
        sides = {"shorter_side": self.min_size, "longer_side": self.max_size, "rounding": self.rounding}
        return super().facts() | sides | {"interpolation": "antialiased" if self.antialias else "bilinear"}

    def resize_to(self, side: int) -> Preprocess:
        """A shorter side of `side` pixels; the limit of the longer side changes in proportion."""
        return self.changed(min_size=side, max_size=round(self.max_size * side / self.min_size))


class SmoothShortestEdge(ShortestEdge):
    """Resizes the shorter side with antialiasing, as Pillow and therefore detectron2 do.

    Sizes are rounded to the nearest pixel. Arguments as of `ShortestEdge`.
    """

    rounding = 0.5
    antialias = True
