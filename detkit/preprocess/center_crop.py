"""`CenterCrop`, the preprocessing of ImageNet classifiers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.preprocess.interpolation import resize
from detkit.preprocess.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess, takes_batches


class CenterCrop(Preprocess):
    """Resizes the shorter side to a fixed length and crops the center, as ImageNet classifiers are evaluated.

    An image that already has the size of the crop is not resized: an augmentation has cropped it.

    Args:
        size: (height, width) of the network's input.
        shorter_side: length that the shorter side is resized to, at least the longer side of the crop.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.

    Raises:
        InputError: the crop is larger than the resized image.
    """

    def __init__(
        self,
        size: tuple[int, int] = (224, 224),
        shorter_side: int = 256,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean, std)
        if not 1 <= min(size) <= max(size) <= shorter_side:
            raise InputError(f"CenterCrop: shorter_side is {shorter_side}, which must be at least the crop's {size}")
        self.size, self.shorter_side = (size[0], size[1]), shorter_side

    def place(self, size: Size) -> Placement:
        """The scaled center of the image; boxes may extend beyond it."""
        height, width = self._resized(size)
        left, top = self._corner((height, width))
        row_x, row_y = (width / size[1], 0.0, float(-left)), (0.0, height / size[0], float(-top))
        return Placement((row_x, row_y), self.size, size)

    @takes_batches
    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """Normalized, resized with antialiasing, as torchvision does for its published weights, then cropped."""
        resized = self._resized(placement.given_size)
        image = resize(self._normalized(image), resized, antialias=True)
        left, top = self._corner(resized)
        return image[..., top : top + self.size[0], left : left + self.size[1]]

    @property
    def fixed_size(self) -> Size:
        """The size of the network's input."""
        return self.size

    def facts(self) -> dict[str, Any]:
        """The offset of the crop is half of what is cut off, a half rounded to even."""
        return super().facts() | {"shorter_side": self.shorter_side, "interpolation": "antialiased"}

    def resize_to(self, side: int) -> Preprocess:
        """Squares that span the whole shorter side, so that images cropped by an augmentation are not cropped again."""
        return self.changed(size=(side, side), shorter_side=side)

    def _resized(self, size: Size) -> Size:
        if size == self.size:
            return self.size
        height, width = (self.shorter_side * side // min(size) for side in size)
        return height, width

    def _corner(self, resized: Size) -> tuple[int, int]:
        """``(left, top)`` of the crop in the resized image; halves are rounded to even, as torchvision does."""
        return round((resized[1] - self.size[1]) / 2), round((resized[0] - self.size[0]) / 2)
