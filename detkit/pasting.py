"""A rectangle of whole pixels, cut out, stretched and put on a frame: how most images are moved, exact for pixels."""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

WholeRectangle = tuple[int, int, int, int]


class Paste(NamedTuple):
    """What is cut out of a frame, and where it goes.

    Args:
        part: the rectangle ``x1 y1 x2 y2`` that is cut out.
        place: where it goes in the new frame, before that is mirrored.
        size: (height, width) of the new frame.
        flips: whether left and right, and top and bottom, are exchanged at last.
    """

    part: WholeRectangle
    place: WholeRectangle
    size: tuple[int, int]
    flips: tuple[bool, bool]

    @property
    def is_scaled(self) -> bool:
        """Whether the part changes its size on the way."""
        return _sides(self.part) != _sides(self.place)

    def pixels(self, pixels: np.ndarray, fill: tuple[int, ...]) -> np.ndarray:
        """Pixels ``(H, W)`` or ``(H, W, C)`` uint8 in the new frame, whose border is `fill`.

        Resampled linearly, by areas where they shrink to less than half.
        """
        left, top, right, bottom = self.part
        pixels = pixels[top:bottom, left:right]
        sides = _sides(self.place)
        if self.is_scaled:
            factors = [new / old for new, old in zip(sides, _sides(self.part), strict=True)]
            interpolation = cv2.INTER_AREA if min(factors) < 0.5 else cv2.INTER_LINEAR
            pixels = cv2.resize(pixels, sides, interpolation=interpolation)
        height, width = self.size
        if sides != (width, height):
            margins = self.place[1], height - self.place[3], self.place[0], width - self.place[2]
            pixels = cv2.copyMakeBorder(pixels, *margins, cv2.BORDER_CONSTANT, value=fill)
        flip = {(True, False): 1, (False, True): 0, (True, True): -1}.get(self.flips)
        return np.ascontiguousarray(pixels) if flip is None else cv2.flip(pixels, flip)

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """Masks ``(N, H, W)`` bool in the new frame; of a part that keeps its size."""
        left, top, right, bottom = self.part
        moved = masks[:, top:bottom, left:right]
        if _sides(self.place) != self.size[::-1]:
            canvas = np.zeros((len(masks), *self.size), dtype=bool)
            canvas[:, self.place[1] : self.place[3], self.place[0] : self.place[2]] = moved
            moved = canvas
        return np.ascontiguousarray(moved[:, :: -1 if self.flips[1] else 1, :: -1 if self.flips[0] else 1])


def whole(rectangle: tuple[float, float, float, float]) -> WholeRectangle | None:
    """The rectangle in whole pixels; None where its edges lie between them, or it is empty."""
    rounded = np.round(rectangle)
    if np.abs(rounded - rectangle).max() > 1e-6 or (rounded[2:] <= rounded[:2]).any():
        return None
    x1, y1, x2, y2 = rounded.astype(int).tolist()
    return x1, y1, x2, y2


def _sides(rectangle: WholeRectangle) -> tuple[int, int]:
    return rectangle[2] - rectangle[0], rectangle[3] - rectangle[1]
