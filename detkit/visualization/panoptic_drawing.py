"""Draw panoptic maps: each object in a variant of the color of its class, stuff in that of its class."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy import ndimage
from torch import Tensor

from detkit.errors import InputError
from detkit.structures import Category
from detkit.structures.image_fields import INSTANCES
from detkit.visualization.colors import instance_colors
from detkit.visualization.image_files import to_image_array
from detkit.visualization.labels import draw_legend, placed_labels, write_labels
from detkit.visualization.map_drawing import OPACITY, class_edges, legend_entry, map_colors


def draw_panoptic_map(
    image: np.ndarray | Tensor,
    panoptic_map: Tensor,
    categories: Sequence[Category],
    scores: Sequence[float] | None = None,
) -> np.ndarray:
    """A copy of an image, tinted by its segments: objects with their class and score, and a legend of the stuff.

    Pixels without a segment keep their color; lines where two segments meet are opaque.

    Args:
        image: as of `detkit.visualization.draw_detections`.
        panoptic_map: ``(H, W)`` int32 of its size.
        categories: ``categories[k]`` is the class of label ``k``.
        scores: of the objects by their instance, from 1; None: of the truth.

    Raises:
        InputError: the map has another size than the image, or a label has no category.
    """
    canvas = to_image_array(image)
    if canvas.shape[:2] != tuple(panoptic_map.shape):
        raise InputError(
            f"the panoptic map is {tuple(panoptic_map.shape)} (height, width), its image {canvas.shape[:2]}"
        )
    values = panoptic_map.cpu().numpy()
    segments, numbers = np.unique(values, return_inverse=True)
    numbers = numbers.reshape(values.shape)
    if len(segments) and segments[-1] // INSTANCES >= len(categories):
        raise InputError(
            f"label {segments[-1] // INSTANCES} has no name among {len(categories)} categories; give the model's"
        )
    labels, instances = (segments // INSTANCES).tolist(), segments % INSTANCES
    objects = np.flatnonzero((segments >= 0) & (instances > 0)).tolist()
    stuff = np.flatnonzero((segments >= 0) & (instances == 0)).tolist()
    corners = _corners(numbers, len(segments))
    colors = np.zeros((len(segments), 3), np.uint8)
    colors[stuff] = map_colors(categories)[[labels[row] for row in stuff]]
    of_objects = instance_colors([labels[row] for row in objects], corners[objects])
    if objects:
        colors[objects] = of_objects
    opacity = np.where(values < 0, 0.0, np.where(class_edges(numbers), 1.0, OPACITY))[..., None]
    drawn = ((1 - opacity) * canvas + opacity * colors[numbers]).round().astype(np.uint8)
    texts = [_text(categories[labels[row]], int(instances[row]), scores) for row in objects]
    written = placed_labels(drawn, corners[objects], [texts])
    drawn = write_labels(drawn, written, of_objects)
    if not stuff:
        return drawn
    areas = np.bincount(numbers.ravel(), minlength=len(segments)) / values.size
    stuff.sort(key=lambda row: -areas[row])
    entries = [legend_entry(categories[labels[row]], areas[row], colors[row]) for row in stuff]
    return draw_legend(drawn, entries, corners[objects], written)


def _corners(numbers: np.ndarray, count: int) -> np.ndarray:
    """``(N, 4)`` int, the box of each of `count` segments."""
    spans = ndimage.find_objects(numbers + 1, count)
    corners = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in spans]
    return np.array(corners, int).reshape(-1, 4)


def _text(category: Category, instance: int, scores: Sequence[float] | None) -> str:
    name = category.name.split(",")[0]
    return name if scores is None else f"{name} {scores[instance - 1]:.2f}"
