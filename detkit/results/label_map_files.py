"""Label maps as files: PNG files of category ids or colors, and polygons of connected parts."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from PIL import Image
from torch import Tensor

from detkit.errors import InputError
from detkit.structures import Category, SemanticMap
from detkit.structures.image_fields import IGNORE_INDEX
from detkit.visualization.image_files import encoded_image
from detkit.visualization.map_drawing import color_map, map_colors, voc_palette


def label_png(answer: SemanticMap, categories: Sequence[Category]) -> bytes:
    """A PNG of category ids, as `detkit.data` reads label maps: 8 bits with the colors of the classes as its palette.

    Pixels without a class are 255. Where an id is above 254 it has 16 bits and no palette, and 65535 for no class.

    Raises:
        InputError: an id of a class that occurs is not in 0..65534.
    """
    ids = np.array([category.id for category in categories], np.int64)
    labels = answer.predicted_labels()
    wrong = next((categories[label] for label in labels if not 0 <= categories[label].id < 65535), None)
    if wrong is not None:
        raise InputError(
            f"the category {wrong.name!r} has the id {wrong.id}, a label map holds 0 to 65534: renumber it"
        )
    is_small = bool((ids < 255).all() and (ids >= 0).all())
    pixels = _looked_up(answer.label_map, ids, 255 if is_small else 65535).astype(np.uint8 if is_small else np.uint16)
    image = Image.fromarray(pixels)
    if is_small:
        palette = voc_palette()
        palette[ids] = map_colors(categories)
        image.putpalette(palette.tobytes())
    content = io.BytesIO()
    image.save(content, "PNG")
    return content.getvalue()


def color_png(answer: SemanticMap, categories: Sequence[Category]) -> bytes:
    """A PNG of the color of the class of each pixel, RGB; black for no class."""
    return encoded_image(color_map(answer.label_map, categories), ".png")


def polygon_json(answer: SemanticMap, categories: Sequence[Category]) -> bytes:
    """The connected parts of each class as GeoJSON (RFC 7946), in pixels of the image: x to the right, y down."""
    features = [
        {
            "type": "Feature",
            "properties": {
                "category_id": categories[label].id,
                "category": categories[label].name,
                "pixels": pixels,
            },
            "geometry": {"type": "Polygon", "coordinates": rings},
        }
        for label in sorted(answer.predicted_labels())
        for rings, pixels in map_polygons((answer.label_map == label).cpu().numpy())
    ]
    return json.dumps({"type": "FeatureCollection", "features": features}).encode()


def map_polygons(mask: np.ndarray) -> list[tuple[list[Any], int]]:
    """The connected parts of a mask as polygons along the edges of pixels, and the number of pixels of each.

    Pixels that touch at a corner alone are connected. Each polygon is a list of closed rings of ``[x, y]``, the outer
    one first, then those of its holes.

    Args:
        mask: bool ``(H, W)``.
    """
    # In an image of twice the size an outline runs over other pixels on the left of an edge than on its right.
    fine = mask.astype(np.uint8).repeat(2, axis=0).repeat(2, axis=1)
    outlines, hierarchy = cv2.findContours(fine, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    polygons = []
    for number, outline in enumerate(outlines):
        if hierarchy[0, number, 3] >= 0:
            continue  # a hole, which its part lists
        rings, hole = [_ring(outline)], hierarchy[0, number, 2]
        while hole >= 0:
            rings.append(_ring(outlines[hole]))
            hole = hierarchy[0, hole, 0]
        polygons.append((rings, round(sum(map(_area, rings)))))
    return polygons


def _ring(outline: np.ndarray) -> list[list[int]]:
    """The corners of pixels that an outline at twice the size passes, closed."""
    corners = (outline[:, 0] + 1) // 2
    corners = corners[(corners != np.roll(corners, 1, axis=0)).any(axis=1)]
    before, after = corners - np.roll(corners, 1, axis=0), np.roll(corners, -1, axis=0) - corners
    turns = corners[(before != after).any(axis=1)]
    ring: list[list[int]] = [*turns.tolist(), turns[0].tolist()]
    return ring


def _area(ring: list[list[int]]) -> float:
    """The area within a ring with the sign of its direction: those of holes run the other way."""
    x, y = np.array(ring, np.int64).T
    return float((x[1:] * y[:-1] - x[:-1] * y[1:]).sum() / 2)


def _looked_up(label_map: Tensor, values: np.ndarray, none: int) -> np.ndarray:
    labels = label_map.cpu().numpy().astype(np.int64)
    is_ignored = labels == IGNORE_INDEX[label_map.dtype]
    found: np.ndarray = np.append(values, none)[np.where(is_ignored, len(values), labels)]
    return found
