"""Draw the labels of objects into images where they do not cover each other."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from detkit.visualization.image_files import font_of_size

Color = tuple[int, int, int]
Box = tuple[int, int, int, int]

_MOST_TEXT = 1 / 8  # of an image, in area


def draw_labels(image: np.ndarray, corners: np.ndarray, texts: list[str], colors: list[Color]) -> np.ndarray:
    """Write each text on its color where it covers no other; the last ones are placed first and drawn on top.

    Nothing is written where all texts together would cover too much of the image.

    Args:
        image: uint8 ``(H, W, 3)``.
        corners: ``(N, 4)`` int, the boxes that the texts belong to.
        texts: of each box.
        colors: of each box.
    """
    font = font_of_size(text_size(image))
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    pad = max(1, round(font.size / 6))
    height = sum(font.getmetrics())
    widths = [math.ceil(draw.textlength(text, font=font)) + 2 * pad for text in texts]
    if len(texts) > 1 and height * sum(widths) > _MOST_TEXT * canvas.width * canvas.height:
        return image
    labels: list[tuple[Box, str, Color]] = []
    for box, width, text, color in reversed(list(zip(corners.tolist(), widths, texts, colors, strict=True))):
        size = width, height
        if size[0] <= canvas.width and 2 * size[1] <= canvas.height:  # else the text would cover the image
            location = _free_location(box, size, canvas.size, [taken for taken, _, _ in labels])
            labels.append((location, text, color))
    for (left, top, right, bottom), text, color in reversed(labels):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=color)
        draw.text((left + pad, top), text, font=font, fill=_readable_on(color))
    return np.array(canvas)


def _free_location(box: list[int], size: tuple[int, int], image_size: tuple[int, int], taken: list[Box]) -> Box:
    """A free box for a label of `size` ``(width, height)``: above, within, below or next to its object."""
    left, top, right, bottom = box
    width, height = size
    corners = [
        (left, top - height),
        (left, top),
        (right - width, top - height),
        (left, bottom),
        (right - width, bottom),
    ]
    locations = []
    for x, y in corners:
        x = max(0, min(x, image_size[0] - width))
        y = max(0, min(y, image_size[1] - height))
        locations.append((x, y, x + width, y + height))
    free = (location for location in locations if not any(_overlap(location, other) for other in taken))
    return next(free, locations[0])


def _overlap(first: Box, second: Box) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _readable_on(color: Color) -> Color:
    """Black or white, whichever stands out."""
    luminance = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)


def text_size(image: np.ndarray) -> int:
    """The font size in pixels: 13, smaller in small images and larger in large ones."""
    side = side_of(image)
    return round(max(9, min(13, side / 12), side / 55))


def side_of(image: np.ndarray) -> float:
    """The side of a square of the same area."""
    return math.sqrt(image.shape[0] * image.shape[1])
