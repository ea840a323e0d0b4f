"""`Square`, the preprocessing of SSD."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from detkit.geometry import Placement, Size
from detkit.preprocess.interpolation import resize
from detkit.preprocess.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, takes_batches


class Square(Preprocess):
    """Resizes images to a square regardless of their aspect ratio, as SSD does.

    `Stretch` does the same with darknet's interpolation; this class uses torch's.

    Args:
        size: side of the network's input in pixels.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
    """

    def __init__(
        self, size: int = 300, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__(mean, std)
        self.size = size

    def place(self, size: Size) -> Placement:
        """The whole image, stretched."""
        return Placement.resize(size, (self.size, self.size))

    @takes_batches
    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """Normalized, then resized bilinearly."""
        return resize(self._normalized(image), placement.size)

    @property
    def fixed_size(self) -> Size:
        """The size of the network's input."""
        return self.size, self.size

    def facts(self) -> dict[str, Any]:
        """The whole image is stretched."""
        return super().facts() | {"interpolation": "bilinear"}

    def resize_to(self, side: int) -> Preprocess:
        """Squares of `side` pixels."""
        return self.changed(size=side)
