"""`MirroredBorders`, the preprocessing of networks without padding."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.preprocess.original_size import OriginalSize
from detkit.preprocess.preprocess import Preprocess, takes_batches


class MirroredBorders(Preprocess):
    """Extends images by their mirror image, so that a network without padding answers for the whole image
    (Ronneberger 2015, figure 2).

    The defaults are those of U-Net, which answers for 184 pixels less than it gets, and for sides of 4, 20, 36 and so
    on. An image of any size is extended: by the margin, and at the right and the bottom to the next such side.

    Args:
        inner: resizes and normalizes before; None leaves images at their size.
        margin: pixels that the answer of the network lacks on each side.
        least: the least side in pixels of an answer.
        step: the sides of answers are `least` and multiples of this more.

    Raises:
        InputError: a number is too small.
    """

    def __init__(self, inner: Preprocess | None = None, margin: int = 92, least: int = 4, step: int = 16) -> None:
        super().__init__()
        if margin < 0 or least < 1 or step < 1:
            raise InputError(
                f"MirroredBorders: margin must be at least 0, and least and step 1, got {margin}, {least} and {step}"
            )
        self.inner = inner or OriginalSize()
        self.mean, self.std = self.inner.mean, self.inner.std
        self.margin, self.least, self.step = margin, least, step

    def place(self, size: Size) -> Placement:
        """The image, placed by `inner`, with the margin around it."""
        inner = self.inner.place(size)
        shift = ((1.0, 0.0, float(self.margin)), (0.0, 1.0, float(self.margin)))
        return inner.then(Placement(shift, self._extended(inner.size), inner.size))

    @takes_batches
    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """Those of `inner`, mirrored at the centers of the outermost pixels, as often as a small image needs it."""
        inner = self.inner.place(placement.given_size)
        if getattr(self.inner.pixels, "takes_batches", False):
            pixels = self.inner.pixels(image, inner)
        else:
            pixels = torch.stack([self.inner.pixels(one, inner) for one in image.flatten(0, -4)]).view_as(image)
        for axis in (-2, -1):
            positions = torch.arange(-self.margin, placement.size[axis] - self.margin, device=pixels.device)
            pixels = pixels.index_select(axis, mirrored(positions, pixels.shape[axis]))
        return pixels

    @property
    def mirrors_border(self) -> bool:
        """Yes, unless `inner` may add a border of its own."""
        return isinstance(self.inner, OriginalSize)

    @property
    def fixed_size(self) -> Size | None:
        """That of `inner`, extended."""
        size = self.inner.fixed_size
        return None if size is None else self._extended(size)

    def facts(self) -> dict[str, Any]:
        """Those of `inner`, and the margins."""
        own = {"kind": type(self).__name__, "size": self.fixed_size, "margin": self.margin, "least": self.least}
        return super().facts() | own | {"step": self.step, "inner": self.inner.facts()}

    def resize_to(self, side: int) -> Preprocess:
        """With `inner` resized."""
        return self.changed(inner=self.inner.resize_to(side))

    def _extended(self, size: Size) -> Size:
        height, width = (
            2 * self.margin + self.least + self.step * max(0, math.ceil((side - self.least) / self.step))
            for side in size
        )
        return height, width


def mirrored(positions: Tensor, length: int) -> Tensor:
    """Positions on a line of `length` pixels that is mirrored at its first and at its last pixel, again and again."""
    if length == 1:
        return torch.zeros_like(positions)
    period = 2 * (length - 1)
    folded = positions.remainder(period)
    return torch.minimum(folded, period - folded)
