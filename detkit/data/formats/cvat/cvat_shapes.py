"""The shapes of CVAT's XML as objects of a COCO file.

Format: https://docs.cvat.ai/docs/manual/advanced/xml_format/, version 1.1. Coordinates are continuous pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from detkit.data.formats.regions.drawn_regions import (
    DrawnMask,
    box_around,
    box_outline,
    ellipse_outline,
    joined,
    outline,
    turned,
)
from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.files.text_documents import numbers_in
from detkit.files.xml_documents import Element

REGIONS = frozenset({"box", "polygon", "ellipse", "mask"})
WITHOUT_AREA = frozenset({"polyline", "points", "cuboid", "skeleton", "tag"})
"""The shapes that are no regions of the image."""


def object_of(shape: Element, size: tuple[int, int]) -> dict[str, Any]:
    """The ``bbox`` of a shape and, unless it is a box, its ``segmentation`` and ``area``.

    Args:
        shape: one of `REGIONS`. A rotated box becomes the upright box around it.
        size: height and width of the image.

    Raises:
        InputError: an attribute is missing or wrong.
    """
    if shape.tag == "box":
        corners = box_outline(*_numbers(shape, "xtl", "ytl", "xbr", "ybr"))
        return {"bbox": box_around(turned(corners, rotation(shape)) if rotation(shape) else corners)}
    if shape.tag == "polygon":
        return joined([points_of(shape)], size)
    if shape.tag == "ellipse":
        corners = ellipse_outline(*_numbers(shape, "cx", "cy", "rx", "ry"))
        return joined([turned(corners, rotation(shape)) if rotation(shape) else corners], size)
    return joined([_mask(shape)], size)


def points_of(shape: Element) -> list[float]:
    """The points of a polygon, as a flat list.

    Raises:
        InputError: they are wrong, or fewer than three.
    """
    text = shape.attributes.get("points", "")
    values = [numbers_in(point.replace(",", " ")) for point in text.split(";") if point.strip()]
    if any(value is None for value in values):
        raise InputError(f"its points {shown(text)} are not x,y;x,y;…")
    return outline(values)


def rotation(shape: Element) -> float:
    """Degrees clockwise.

    Raises:
        InputError: they are no number.
    """
    return _numbers(shape, "rotation")[0] if "rotation" in shape.attributes else 0.0


def _mask(shape: Element) -> DrawnMask:
    """The pixels of a mask: runs row by row in its box, the first one outside."""
    left, top, width, height = (int(value) for value in _numbers(shape, "left", "top", "width", "height"))
    runs = numbers_in(shape.attributes.get("rle", "").replace(",", " "))
    if runs is None or not all(run >= 0 and run == int(run) for run in runs):
        raise InputError(f"its rle {shown(shape.attributes.get('rle', ''))} is no list of run lengths")
    lengths = np.array(runs, dtype=np.int64)
    if min(width, height) < 1 or lengths.sum() != width * height:
        raise InputError(f"its rle has {int(lengths.sum())} pixels, but its box {width}x{height}; export it again")
    inside = np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)
    return DrawnMask(inside.reshape(height, width), left, top)


def _numbers(shape: Element, *names: str) -> list[float]:
    texts = [shape.attributes.get(name, "") for name in names]
    values = numbers_in(" ".join(text or "nan" for text in texts))
    if values is None or len(values) != len(names) or not np.isfinite(values).all():
        listed = " ".join(f"{name}={text!r:.40}" for name, text in zip(names, texts, strict=True))
        raise InputError(f"its {listed} must be finite numbers")
    return values
