"""The input of a file as its own metadata describes it, with numpy: what a program without detkit would give it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detkit.geometry import Placement

KINDS = frozenset(
    {"CenterCrop", "Letterbox", "OriginalSize", "ShortestEdge", "SmoothShortestEdge", "Square", "Stretch"}
)
"""What `stated_pixels` knows; other kinds are classes of other packages."""


def stated_pixels(image: np.ndarray, how: Mapping[str, Any]) -> tuple[np.ndarray, Placement]:
    """The pixels ``(3, H, W)`` of an image, not padded to a divisor yet, and where the image lies in them.

    Args:
        image: ``(h, w, 3)`` RGB in [0, 1].
        how: the fact ``detkit.preprocess``.
    """
    given = (image.shape[0], image.shape[1])
    new, kind, size = _resized_size(given, how), how["kind"], how["size"]
    if new != given or how.get("interpolation") == "corners":
        rows, columns = (_shares(given[axis], new[axis], how["interpolation"], axis == 0) for axis in (0, 1))
        image = np.einsum("yh,xw,hwc->yxc", rows, columns, image, optimize=True)
    pixels = image.transpose(2, 0, 1).astype(np.float32)
    scale_y, scale_x = new[0] / given[0], new[1] / given[1]
    left = top = 0.0
    if kind == "CenterCrop":
        down, right = (round((side - kept) / 2) for side, kept in zip(new, size, strict=True))
        pixels, left, top = pixels[:, down : down + size[0], right : right + size[1]], -float(right), -float(down)
    elif size is not None:
        canvas = np.ones((3, *size), "float32") * np.array(how["pad_value"], "float32")[:, None, None]
        if kind == "Letterbox":
            left, top = (size[1] - new[1]) / 2, (size[0] - new[0]) / 2
        canvas[:, int(top) : int(top) + new[0], int(left) : int(left) + new[1]] = pixels
        pixels = canvas
    matrix = ((scale_x, 0.0, left), (0.0, scale_y, top))
    return pixels, Placement(matrix, (pixels.shape[1], pixels.shape[2]), given)


def _resized_size(given: tuple[int, int], how: Mapping[str, Any]) -> tuple[int, int]:
    size, kind = how["size"], how["kind"]
    if kind == "OriginalSize" or (kind == "CenterCrop" and list(given) == list(size)):
        return given
    height, width = given
    if kind == "CenterCrop":
        return how["shorter_side"] * height // min(given), how["shorter_side"] * width // min(given)
    if kind == "Letterbox":
        if np.float32(size[1]) / np.float32(width) < np.float32(size[0]) / np.float32(height):
            return max(1, height * size[1] // width), size[1]
        return size[0], max(1, width * size[0] // height)
    if size is not None:
        return size[0], size[1]
    scale = min(how["shorter_side"] / min(given), how["longer_side"] / max(given))
    return max(1, int(height * scale + how["rounding"])), max(1, int(width * scale + how["rounding"]))


def _shares(old: int, new: int, kind: str, of_rows: bool) -> np.ndarray:
    """How much of each old pixel is in each new one, ``(new, old)``."""
    if kind == "corners":
        at = np.arange(new, dtype="float32") * (np.float32(old - 1) / np.float32(max(new - 1, 1)))
        share: np.ndarray = np.maximum(0, 1 - np.abs(np.arange(old) - at[:, None]))
        if of_rows:  # darknet adds nothing below the last row
            share[-1, int(at[-1]) + 1 :] = 0
        return share
    reach = max(old / new, 1) if kind == "antialiased" else 1
    centers = (np.arange(new)[:, None] + 0.5) * old / new
    share = np.maximum(0, 1 - np.abs(np.arange(old) + 0.5 - centers) / reach)
    return np.asarray(share / share.sum(axis=1, keepdims=True))
