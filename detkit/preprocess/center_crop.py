"""The center of an image, as classifiers see it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.preprocess.preprocess import IMAGENET_MEAN, IMAGENET_STD, Preprocess


class CenterCrop(Preprocess):
    """Resizes the shorter side to a fixed length and cuts out the center, as classifiers of ImageNet are evaluated.

    An image that has the size of the crop already is taken as it is: what an augmentation has cropped is not cropped
    once more.

    Args:
        size: (height, width) of the network's input.
        shorter_side: length that the shorter side is resized to, at least the crop's longer side.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.

    Raises:
        InputError: the crop is larger than what it is cut from.
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
        """The center, scaled; boxes of objects may reach out of it."""
        height, width = self._resized(size)
        left, top = self._corner((height, width))
        row_x, row_y = (width / size[1], 0.0, float(-left)), (0.0, height / size[0], float(-top))
        return Placement((row_x, row_y), self.size, size)

    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """Resized with antialiasing after normalization, as torchvision resizes for its published weights, then cut."""
        image = self._normalized(image)
        resized = self._resized(placement.given_size)
        if resized != placement.given_size:
            image = F.interpolate(image[None], size=resized, mode="bilinear", antialias=True)[0]
        left, top = self._corner(resized)
        return image[:, top : top + self.size[0], left : left + self.size[1]]

    def resize_to(self, side: int) -> Preprocess:
        """Squares that show the whole shorter side, so that a training image which an augmentation has cropped is not
        cropped once more."""
        return self.changed(size=(side, side), shorter_side=side)

    def _resized(self, size: Size) -> Size:
        if size == self.size:
            return self.size
        height, width = (self.shorter_side * side // min(size) for side in size)
        return height, width

    def _corner(self, resized: Size) -> tuple[int, int]:
        """``(left, top)`` of the crop in the resized image; halves are rounded to even, as torchvision does."""
        return round((resized[1] - self.size[1]) / 2), round((resized[0] - self.size[0]) / 2)
