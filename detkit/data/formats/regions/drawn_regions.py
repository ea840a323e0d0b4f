"""Regions that annotation programs draw: outlines and masks in pixels, joined to an object of a COCO file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from detkit.coco_files.entry_lists import LARGEST
from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers, shown
from detkit.ops.masks import masks_to_rle, polygons_to_rle, rle_to_masks

_CORNERS = 72
"""Of the outline of an ellipse: its area is 0.13 % too small."""


@dataclass(frozen=True)
class DrawnMask:
    """A part of an image's pixels.

    Args:
        pixels: bool ``(h, w)``.
        left: the column of the image at which they begin.
        top: the row.
    """

    pixels: np.ndarray
    left: int
    top: int


Region = list[float] | DrawnMask
"""An outline ``x1 y1 x2 y2 …`` of at least three corners, or a mask."""


def outline(points: Any, fewest: int = 3) -> list[float]:
    """Points ``[[x, y], …]`` as a flat list.

    Raises:
        InputError: they are no points of finite numbers, or fewer than `fewest`.
    """
    if not isinstance(points, list) or not all(is_finite_numbers(point, 2) for point in points):
        raise InputError(f"its points must be a list of [x, y], they are {shown(points)}")
    if len(points) < fewest:
        raise InputError(f"it has {len(points)} points and needs {fewest}; draw it again or remove it")
    flat = [float(value) for point in points for value in point]
    if any(abs(value) > LARGEST for value in flat):
        raise InputError(f"its points are too far from the image: {shown(points)}")
    return flat


def box_outline(x1: float, y1: float, x2: float, y2: float) -> list[float]:
    """The corners of a box, in order."""
    return [x1, y1, x2, y1, x2, y2, x1, y2]


def ellipse_outline(center_x: float, center_y: float, radius_x: float, radius_y: float) -> list[float]:
    """Corners on an ellipse, among them its outermost points."""
    angles = [2 * math.pi * corner / _CORNERS for corner in range(_CORNERS)]
    points = ((center_x + radius_x * math.cos(a), center_y + radius_y * math.sin(a)) for a in angles)
    return [round(value, 6) for point in points for value in point]


def turned(corners: Sequence[float], degrees: float) -> list[float]:
    """An outline turned clockwise around the middle of the box around it."""
    xs, ys = np.array(corners[0::2]), np.array(corners[1::2])
    x, y = (xs.min() + xs.max()) / 2, (ys.min() + ys.max()) / 2
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    points = np.stack((x + (xs - x) * cos - (ys - y) * sin, y + (xs - x) * sin + (ys - y) * cos), axis=1)
    return [round(value, 6) for value in points.flatten().tolist()]


def box_around(corners: Sequence[float]) -> list[float]:
    """The box ``x y width height`` around an outline."""
    left, top = min(corners[0::2]), min(corners[1::2])
    return [left, top, round(max(corners[0::2]) - left, 6), round(max(corners[1::2]) - top, 6)]


def joined(regions: Sequence[Region], size: tuple[int, int]) -> dict[str, Any]:
    """The ``bbox``, ``area`` and ``segmentation`` of an object that consists of these regions.

    Args:
        regions: at least one. Outlines alone stay polygons; with a mask among them the object becomes run lengths.
        size: height and width of the image.

    Raises:
        InputError: a mask reaches out of the image, or there is nothing in any.
    """
    outlines = [one for one in regions if not isinstance(one, DrawnMask)]
    if len(outlines) == len(regions):
        area = _polygon_area(outlines[0]) if len(outlines) == 1 else float(polygons_to_rle([outlines], *size).areas())
        return {
            "bbox": box_around([value for one in outlines for value in one]),
            "area": area,
            "segmentation": outlines,
        }
    mask = np.zeros(size, dtype=bool)
    for region in regions:
        if isinstance(region, DrawnMask):
            _put(region, mask)
    if outlines:
        mask |= rle_to_masks(polygons_to_rle([outlines], *size))[0].numpy().astype(bool)
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if len(rows) == 0:
        raise InputError("its mask is empty; draw it again or remove it")
    runs = masks_to_rle(torch.from_numpy(mask)[None]).to_coco()[0]
    x, y = float(columns[0]), float(rows[0])
    return {
        "bbox": [x, y, float(columns[-1] + 1 - columns[0]), float(rows[-1] + 1 - rows[0])],
        "area": float(mask.sum()),
        "segmentation": {"size": list(size), "counts": runs["counts"].decode("ascii")},
    }


def _put(region: DrawnMask, mask: np.ndarray) -> None:
    (height, width), (left, top) = region.pixels.shape, (region.left, region.top)
    if min(left, top) < 0 or left + width > mask.shape[1] or top + height > mask.shape[0]:
        raise InputError(
            f"its mask of {width}x{height} pixels at ({left}, {top}) reaches out of the image, which has "
            f"{mask.shape[1]}x{mask.shape[0]}"
        )
    mask[top : top + height, left : left + width] |= region.pixels


def _polygon_area(corners: Sequence[float]) -> float:
    xs, ys = corners[0::2], corners[1::2]
    return abs(sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))) / 2  # shoelace formula
