"""`Letterbox` and `Stretch`, darknet's preprocessing to a fixed size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.geometry import Placement, Size
from detkit.preprocess.preprocess import Preprocess, takes_batches
from detkit.structures.device_transfer import to_device


class Letterbox(Preprocess):
    """Resizes images to fit into a fixed size, and centers them on gray, as darknet does.

    For boxes, both borders are equally wide, even where an odd pixel belongs to one of them, as in darknet.

    Args:
        size: (height, width) of the network's input.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
    """

    def __init__(
        self,
        size: tuple[int, int] = (416, 416),
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__(mean, std)
        self.size = size

    def place(self, size: Size) -> Placement:
        """The whole image between two borders of equal width."""
        fitted = self.fitted(size)
        left, top = (self.size[1] - fitted[1]) / 2, (self.size[0] - fitted[0]) / 2
        row_x, row_y = (fitted[1] / size[1], 0.0, left), (0.0, fitted[0] / size[0], top)
        return Placement((row_x, row_y), (self.size[0], self.size[1]), size)

    @takes_batches
    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """Darknet's resizing on a gray canvas, then normalized."""
        height, width = self.fitted(placement.given_size)
        top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
        canvas = image.new_full((*image.shape[:-2], *self.size), 0.5)
        canvas[..., top : top + height, left : left + width] = corner_resize(image, (height, width))
        return self._normalized(canvas)

    @property
    def fixed_size(self) -> Size:
        """The size of the network's input."""
        return self.size[0], self.size[1]

    def facts(self) -> dict[str, Any]:
        """``corners``: darknet's bilinear resizing, whose first and last pixels are those of the image."""
        return super().facts() | {"pad_value": [0.5] * 3, "interpolation": "corners"}

    def resize_to(self, side: int) -> Preprocess:
        """A square canvas."""
        return self.changed(size=(side, side))

    def fitted(self, size: Size) -> Size:
        """The (height, width) to which an image of `size` is resized."""
        # Compared in float32 and rounded down, as darknet does.
        height, width = self.size
        if np.float32(width) / np.float32(size[1]) < np.float32(height) / np.float32(size[0]):
            return max(1, size[0] * width // size[1]), width
        return height, max(1, size[1] * height // size[0])


class Stretch(Letterbox):
    """Resizes images to a fixed size regardless of their aspect ratio, as YOLOv1 does.

    Args:
        size: (height, width) of the network's input.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
    """

    def fitted(self, size: Size) -> Size:
        """The whole canvas."""
        return self.size[0], self.size[1]


def corner_resize(image: Tensor, size: Size) -> Tensor:
    """`image` ``(..., H, W)`` resized bilinearly with aligned corners: darknet's ``resize_image``.

    Darknet adds no lower neighbor to the last row, which makes it dark where rounding puts it slightly above the last
    row of the image. Published networks were trained that way, so this does the same.
    """
    height, width = image.shape[-2:]
    first, share = _positions(width, size[1])
    # The last column is copied.
    first[-1], share[-1] = width - 1, 0
    before, after, share_after = _moved(first, share, width, image)
    image = (1 - share_after) * image[..., before] + share_after * image[..., after]
    first, share = _positions(height, size[0])
    below = share.copy()
    below[-1] = 0
    before, after, share_after = _moved(first, share, height, image)
    share_below = to_device(torch.from_numpy(below), image.device)
    return (1 - share_after[:, None]) * image[..., before, :] + share_below[:, None] * image[..., after, :]


def _positions(length: int, new_length: int) -> tuple[np.ndarray, np.ndarray]:
    """For each new pixel, the index of the old one before it, and the distance from that one in float32."""
    step = np.float32(length - 1) / np.float32(max(new_length - 1, 1))
    positions = np.arange(new_length, dtype=np.float32) * step
    first = positions.astype(np.int64)
    return first, positions - first.astype(np.float32)


def _moved(first: np.ndarray, share: np.ndarray, length: int, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The indices of both neighbors, and the share of the second, on the device of `image`."""
    both = np.stack([first, np.minimum(first + 1, length - 1)])
    before, after = to_device(torch.from_numpy(both), image.device)
    return before, after, to_device(torch.from_numpy(share), image.device)
