"""Colors: one for each class, and variants of it for objects of one class that lie side by side."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence

import numpy as np

Color = tuple[int, int, int]

_VARIANTS = (
    (0.0, 1.0, 1.0),
    (0.09, 1.0, 1.0),
    (-0.09, 1.0, 1.0),
    (0.0, 0.5, 1.0),
    (0.05, 1.0, 0.62),
    (-0.05, 1.0, 0.62),
    (0.14, 0.6, 1.0),
)
"""Of the color of a class: the shift of the hue, and the factors of the saturation and the value."""


def class_color(label: int) -> Color:
    """The color of a class: neighboring labels are far apart on the color circle."""
    return _rgb(*_hsv(label))


def instance_colors(labels: Sequence[int], corners: np.ndarray) -> list[Color]:
    """A variant of the color of its class for each object, another one than those of its neighbors, if there is one.

    Args:
        labels: the class of each object.
        corners: ``(N, 4)``, the box of each; boxes that are less than half their size apart are neighbors.
    """
    middles = (corners[:, :2] + corners[:, 2:]) / 2
    sizes = np.maximum(corners[:, 2:] - corners[:, :2], 1)
    chosen: list[int] = []
    for index, label in enumerate(labels):
        reach = 0.75 * (sizes[:index] + sizes[index])
        near = (np.abs(middles[:index] - middles[index]) <= reach).all(axis=1)
        uses = [0] * len(_VARIANTS)
        for other in np.flatnonzero(near).tolist():
            uses[chosen[other]] += labels[other] == label
        chosen.append(uses.index(min(uses)))
    return [_variant(label, variant) for label, variant in zip(labels, chosen, strict=True)]


def _variant(label: int, variant: int) -> Color:
    hue, saturation, value = _hsv(label)
    shift, less_saturated, darker = _VARIANTS[variant]
    return _rgb((hue + shift) % 1, saturation * less_saturated, value * darker)


def _hsv(label: int) -> tuple[float, float, float]:
    hue = (0.98 + label * 0.381966) % 1  # the golden angle
    saturation, value = ((0.85, 0.95), (0.60, 1.0), (1.0, 0.72))[(label // 8) % 3]
    return hue, saturation, value


def _rgb(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)
