"""Draw label maps: the color of the class of each pixel over an image, its edges, and a legend of the classes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from torch import Tensor

from detkit.errors import InputError
from detkit.structures import Category
from detkit.structures.categories import voc_color
from detkit.structures.image_fields import IGNORE_INDEX
from detkit.visualization.colors import Color
from detkit.visualization.image_files import to_image_array
from detkit.visualization.labels import draw_legend

OPACITY = 0.55
"""Of the color of a class over its pixels."""


def voc_palette() -> np.ndarray:
    """The 256 colors of PASCAL VOC's label maps, uint8 ``(256, 3)``; see `voc_color`."""
    return np.array([voc_color(number) for number in range(256)], np.uint8)


def map_colors(categories: Sequence[Category]) -> np.ndarray:
    """The color of each label, uint8 ``(K, 3)``: that of its category, else VOC's of the category's id."""
    own = [voc_color(one.id % 256) if one.color is None else one.color for one in categories]
    return np.array(own, np.uint8).reshape(-1, 3)


def color_map(label_map: Tensor, categories: Sequence[Category]) -> np.ndarray:
    """The color of the class of each pixel, uint8 ``(H, W, 3)``; black where it has none.

    Args:
        label_map: as of `detkit.structures.SemanticMap`.
        categories: ``categories[k]`` is the class of label ``k``.

    Raises:
        InputError: a label has no category.
    """
    labels, is_ignored = _labels(label_map, categories)
    colors = np.concatenate([map_colors(categories), np.zeros((1, 3), np.uint8)])
    drawn: np.ndarray = colors[np.where(is_ignored, len(categories), labels)]
    return drawn


def draw_label_map(image: np.ndarray | Tensor, label_map: Tensor, categories: Sequence[Category]) -> np.ndarray:
    """A copy of an image, tinted by the classes of its pixels, with their names and shares in a corner.

    Pixels without a class keep their color; lines where two classes meet are opaque.

    Args:
        image: as of `detkit.visualization.draw_detections`.
        label_map: of its size.
        categories: ``categories[k]`` is the class of label ``k``.

    Raises:
        InputError: the map has another size than the image, or a label has no category.
    """
    canvas = to_image_array(image)
    if canvas.shape[:2] != tuple(label_map.shape):
        raise InputError(f"the label map is {tuple(label_map.shape)} (height, width), its image {canvas.shape[:2]}")
    labels, is_ignored = _labels(label_map, categories)
    tints = color_map(label_map, categories)
    opacity = np.where(is_ignored, 0.0, np.where(class_edges(labels), 1.0, OPACITY))[..., None]
    drawn = ((1 - opacity) * canvas + opacity * tints).round().astype(np.uint8)
    counts = np.bincount(labels[~is_ignored].ravel(), minlength=len(categories))
    present = sorted(np.flatnonzero(counts).tolist(), key=lambda label: -counts[label])
    if not present:
        return drawn
    colors = map_colors(categories)
    entries = [legend_entry(categories[label], counts[label] / labels.size, colors[label]) for label in present]
    nothing = np.zeros((0, 4), int)
    return draw_legend(drawn, entries, nothing, [])


def _labels(label_map: Tensor, categories: Sequence[Category]) -> tuple[np.ndarray, np.ndarray]:
    """The labels as int64, and which pixels have none."""
    labels = label_map.cpu().numpy().astype(np.int64)
    is_ignored = labels == IGNORE_INDEX[label_map.dtype]
    wrong = labels[~is_ignored & ((labels < 0) | (labels >= len(categories)))]
    if len(wrong):
        raise InputError(
            f"label {wrong[0]} has no name among {len(categories)} categories; give the model's categories"
        )
    return labels, is_ignored


def class_edges(labels: np.ndarray) -> np.ndarray:
    """Which pixels have another value than the next one at the right or below."""
    edges = np.zeros(labels.shape, bool)
    edges[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    edges[:-1] |= labels[:-1] != labels[1:]
    return edges


def legend_entry(category: Category, share: float, color: np.ndarray) -> tuple[str, Color]:
    """A row of the legend: ``road 61 %``."""
    red, green, blue = color.tolist()
    return f"{category.name.split(',')[0]} {100 * share:.0f} %", (red, green, blue)
