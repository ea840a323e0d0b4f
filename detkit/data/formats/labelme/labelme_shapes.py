"""The shapes of a LabelMe file as regions of the image.

Format: https://github.com/wkentaro/labelme. Points are continuous pixels from the upper left corner of the image.
"""

from __future__ import annotations

import base64
import binascii
import math
from io import BytesIO
from typing import Any

import numpy as np
from PIL import Image, UnidentifiedImageError

from detkit.data.formats.regions.drawn_regions import (
    DrawnMask,
    Region,
    box_outline,
    ellipse_outline,
    outline,
)
from detkit.errors import InputError
from detkit.files.json_values import shown

WITHOUT_AREA = frozenset({"line", "linestrip", "point", "points"})
"""The kinds of shapes that are no regions."""


def kind_of(shape: dict[str, Any]) -> str:
    """The kind of a shape; files of the first releases do not state it."""
    return str(shape.get("shape_type") or "polygon")


def region_of(shape: dict[str, Any]) -> Region:
    """The region that a shape encloses.

    Raises:
        InputError: it is of another kind, or its points or its mask are wrong.
    """
    kind, points = kind_of(shape), shape.get("points")
    if kind in ("polygon", "oriented_rectangle", "rotation"):
        return outline(points)
    if kind == "rectangle":
        corners = outline(points, fewest=2)
        return box_outline(*_lowest(corners), *_highest(corners))
    if kind == "circle":
        x, y, *edge = outline(points, fewest=2)
        radius = math.hypot(edge[0] - x, edge[1] - y)
        return ellipse_outline(x, y, radius, radius)
    if kind == "mask":
        left, top, *_ = outline(points, fewest=2)
        return DrawnMask(mask_pixels(shape.get("mask")), int(left), int(top))
    raise InputError(f"the shape_type {shown(kind)} is not known; give a polygon, rectangle, circle or mask")


def mask_pixels(text: Any) -> np.ndarray:
    """The pixels ``(h, w)`` of a PNG in base64 that are not 0.

    Raises:
        InputError: it is none.
    """
    try:
        with Image.open(BytesIO(base64.b64decode(text, validate=True))) as image:
            pixels = np.asarray(image)
    except (TypeError, binascii.Error, UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f"its mask is no PNG in base64 ({shown(str(error))}); save the file again") from None
    return (pixels.any(axis=2) if pixels.ndim == 3 else pixels) != 0


def _lowest(corners: list[float]) -> tuple[float, float]:
    return min(corners[0::2]), min(corners[1::2])


def _highest(corners: list[float]) -> tuple[float, float]:
    return max(corners[0::2]), max(corners[1::2])
