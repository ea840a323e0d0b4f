"""Masks and keypoints of the browser of images, as small SVG paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

_TOLERANCE = 0.75
"""How far an outline is from the mask, in pixels of the page."""

_FINE = 4
"""Parts of a pixel in which the outline of a small mask is followed."""

_SMALL = 128
"""The longest side of a small mask, in pixels."""


@dataclass(frozen=True)
class Shape:
    """What is drawn of an object beside its box: SVG paths in pixels of the image, empty for none.

    Args:
        mask: an outline, filled by the even-odd rule.
        lines: of a skeleton.
        dots: of keypoints, a point each.
    """

    mask: str = ""
    lines: str = ""
    dots: str = ""

    def __or__(self, other: Shape) -> Shape:
        """Both together."""
        return Shape(self.mask + other.mask, self.lines + other.lines, self.dots + other.dots)

    @property
    def plain(self) -> list[str]:
        """The values for the script of the page."""
        return [self.mask, self.lines, self.dots]


def mask_shape(mask: np.ndarray, scale: float = 1.0) -> Shape:
    """The outline of a mask, with its holes.

    Args:
        mask: ``(H, W)`` bool or uint8.
        scale: pixels of the page for one of the image; what cannot be seen there is left out.
    """
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        return Shape()
    top, left = int(rows[0]), int(columns[0])
    part = mask[top : rows[-1] + 1, left : columns[-1] + 1].astype(np.uint8)
    fine = _FINE if max(part.shape) <= _SMALL else 1
    part = part.repeat(fine, axis=0).repeat(fine, axis=1)
    outlines, _ = cv2.findContours(part, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    simpler = [cv2.approxPolyDP(one, _TOLERANCE * fine / min(scale, 1.0), True)[:, 0] for one in outlines]
    # The centers of pixels are at halves.
    points = [(one + 0.5) / fine + (left, top) for one in simpler if len(one) > 2]
    return Shape(mask="".join(_closed(one, 1 if scale >= 1 else 0) for one in points))


def keypoint_shape(
    points: np.ndarray, is_shown: Sequence[bool] | np.ndarray, skeleton: Iterable[tuple[int, int]] = ()
) -> Shape:
    """Keypoints as dots, and the lines of the skeleton between those that are shown.

    Args:
        points: ``(J, 2)`` x and y in pixels.
        is_shown: ``(J,)`` which of them are.
        skeleton: pairs of keypoints.
    """
    places = [f"{x:.1f} {y:.1f}" for x, y in points.tolist()]
    dots = "".join(f"M{place}h.01" for place, one in zip(places, is_shown, strict=True) if one)
    lines = "".join(f"M{places[a]}L{places[b]}" for a, b in skeleton if is_shown[a] and is_shown[b])
    return Shape(lines=lines, dots=dots)


def _closed(points: np.ndarray, decimals: int) -> str:
    """A closed path of relative steps, which are shorter than places."""
    whole = np.round(points * 10**decimals).astype(int)
    steps = np.diff(whole, axis=0).tolist()
    unit = 10**decimals
    first = " ".join(f"{value / unit:g}" for value in whole[0].tolist())
    return f"M{first}l" + " ".join(f"{x / unit:g} {y / unit:g}" for x, y in steps) + "z"
