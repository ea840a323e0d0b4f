"""The network's input for one image, of which windows are taken: no window needs the whole of it in memory."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.geometry import Placement, Size
from detkit.preprocess import Batch, Preprocess
from detkit.preprocess.mirrored_borders import mirrored


class Frame(Protocol):
    """One image in the frame of the network.

    Attributes:
        size: (height, width) of the frame.
    """

    size: Size

    def window(self, top: int, left: int, size: Size) -> Tensor:
        """Normalized pixels ``(3, *size)``; 0 beyond the right and the bottom edge."""


class PreparedFrame:
    """An image that is preprocessed as a whole.

    Args:
        batch: of this image alone.
    """

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.size = batch.padded_size

    def window(self, top: int, left: int, size: Size) -> Tensor:
        """See `Frame`."""
        part = self.batch.images[0, :, top : top + size[0], left : left + size[1]]
        return F.pad(part, (0, size[1] - part.shape[2], 0, size[0] - part.shape[1]))


class ShiftedFrame:
    """An image that preprocessing only shifts and normalizes, which happens window by window.

    Args:
        image: ``(3, H, W)`` uint8 or float in [0, 1]; it is not copied.
        preprocess: of the model.
        placement: of the image, a translation by whole pixels.
    """

    def __init__(self, image: Tensor, preprocess: Preprocess, placement: Placement) -> None:
        self.image, self.preprocess = image, preprocess
        self.size = placement.size
        self.shift = round(placement.matrix[1][2]), round(placement.matrix[0][2])

    def window(self, top: int, left: int, size: Size) -> Tensor:
        """See `Frame`; within the frame, a border mirrors the image."""
        device, (height, width) = self.preprocess.mean.device, self.image.shape[-2:]
        rows = torch.arange(top, min(top + size[0], self.size[0]), device=self.image.device) - self.shift[0]
        columns = torch.arange(left, min(left + size[1], self.size[1]), device=self.image.device) - self.shift[1]
        part = self.image[:, mirrored(rows, height)[:, None], mirrored(columns, width)].to(device)
        pixels = (part / 255 if part.dtype == torch.uint8 else part).float()
        pixels = (pixels - self.preprocess.mean) / self.preprocess.std
        return F.pad(pixels, (0, size[1] - pixels.shape[2], 0, size[0] - pixels.shape[1]))


def frame_of(image: Tensor, preprocess: Preprocess) -> PreparedFrame | ShiftedFrame:
    """The frame of an image ``(3, H, W)``; what preprocessing only shifts is not preprocessed as a whole."""
    placement = preprocess.place((image.shape[-2], image.shape[-1]))
    if keeps_pixels(placement) and (preprocess.mirrors_border or not placement.has_border):
        return ShiftedFrame(image, preprocess, placement)
    return PreparedFrame(preprocess([image]))


def keeps_pixels(placement: Placement) -> bool:
    """Whether a placement only shifts, by whole pixels, and shows the whole image."""
    (a, b, c), (d, e, f) = placement.matrix
    height, width = placement.given_size
    shifts = (a, b, d, e) == (1, 0, 0, 1) and c == round(c) and f == round(f)
    return shifts and placement.visible_part == (0, 0, width, height)
