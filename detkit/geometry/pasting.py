"""Crop, resize, pad and flip by whole pixels: the exact fast path of `Placement`."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import cv2
import numpy as np

from detkit.geometry.rectangles import WholeRectangle

if TYPE_CHECKING:
    from detkit.geometry.placement import Placement


class Paste(NamedTuple):
    """A crop of one frame pasted onto another.

    Args:
        part: the rectangle ``x1 y1 x2 y2`` of the given frame to crop.
        destination: the rectangle of the new frame to paste it into, before flipping.
        size: (height, width) of the new frame.
        flips: whether to flip the new frame horizontally, and vertically.
    """

    part: WholeRectangle
    destination: WholeRectangle
    size: tuple[int, int]
    flips: tuple[bool, bool]

    @property
    def is_scaled(self) -> bool:
        """Whether the crop is resized."""
        return _sides(self.part) != _sides(self.destination)

    def unflipped(self, pixels: np.ndarray, fill: tuple[int, ...]) -> np.ndarray:
        """Pixels ``(H, W, C)`` uint8 of the given frame, in the new one before it is flipped; its border is `fill`."""
        left, top, right, bottom = self.part
        pixels = pixels[top:bottom, left:right]
        if self.is_scaled:
            pixels = cv2.resize(pixels, _sides(self.destination), interpolation=self._interpolation)
        height, width = self.size
        if _sides(self.destination) != (width, height):
            margins = (
                self.destination[1],
                height - self.destination[3],
                self.destination[0],
                width - self.destination[2],
            )
            pixels = cv2.copyMakeBorder(pixels, *margins, cv2.BORDER_CONSTANT, value=fill)
        return np.ascontiguousarray(pixels)

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """Masks ``(N, H, W)`` bool of the given frame, in the new one; resampled masks are thresholded at 0.5."""
        left, top, right, bottom = self.part
        (x1, y1, x2, y2), flip_x, flip_y = self.destination, *self.flips
        moved = masks[:, top:bottom, left:right]
        if self.is_scaled:
            size, interpolation = _sides(self.destination), self._interpolation
            scaled = [cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=interpolation) for mask in moved]
            moved = np.asarray(scaled).reshape(len(masks), y2 - y1, x2 - x1) >= 128
        if _sides(self.destination) != self.size[::-1]:
            canvas = np.zeros((len(masks), *self.size), dtype=bool)
            canvas[:, y1:y2, x1:x2] = moved
            moved = canvas
        if flip_x and len(moved):  # in one image below the other, which OpenCV mirrors faster than numpy
            rows = np.ascontiguousarray(moved).view(np.uint8).reshape(-1, moved.shape[2])
            moved = cv2.flip(rows, 1).view(bool).reshape(moved.shape)
        return np.ascontiguousarray(moved[:, :: -1 if flip_y else 1])

    @property
    def _interpolation(self) -> int:
        """Bilinear; area averaging where the crop shrinks to less than half."""
        (width, height), (given_width, given_height) = _sides(self.destination), _sides(self.part)
        return cv2.INTER_AREA if min(width / given_width, height / given_height) < 0.5 else cv2.INTER_LINEAR


def whole_flips(placement: Placement) -> tuple[bool, bool] | None:
    """Whether a placement flips the whole frame horizontally, and vertically; None where it does anything else."""
    (a, b, _), (d, e, _) = placement.matrix
    keeps_frame = placement.size == placement.given_size and not placement.has_border
    return (a < 0, e < 0) if keeps_frame and (abs(a), b, d, abs(e)) == (1, 0, 0, 1) else None


def flip(pixels: np.ndarray, flips: tuple[bool, bool], out: np.ndarray | None = None) -> np.ndarray:
    """Pixels ``(H, W, …)`` flipped horizontally, and vertically, as `flips` says; into `out`, which may be the same."""
    code = {(True, False): 1, (False, True): 0, (True, True): -1}.get(flips)
    return pixels if code is None else cv2.flip(pixels, code, out)


def _sides(rectangle: WholeRectangle) -> tuple[int, int]:
    return rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
