"""Draw the labels of objects into images where they do not cover each other, and a legend for those without."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from detkit.visualization.colors import Color
from detkit.visualization.image_files import font_of_size

Box = tuple[int, int, int, int]

_MOST_TEXT = 1 / 8  # of an image, in area


@dataclass(frozen=True)
class Label:
    """A text at its place.

    Args:
        index: of the object that it belongs to.
        place: left, top, right and bottom, in pixels.
        text: of the label.
    """

    index: int
    place: Box
    text: str


def draw_labels(image: np.ndarray, corners: np.ndarray, texts: list[str], colors: list[Color]) -> np.ndarray:
    """Write each text on its color where it covers no other; the last ones are placed first.

    A text without a free place is left out. Nothing is written where all texts together would cover too much of the
    image.

    Args:
        image: uint8 ``(H, W, 3)``.
        corners: ``(N, 4)`` int, the boxes that the texts belong to.
        texts: of each box.
        colors: of each box.
    """
    return write_labels(image, placed_labels(image, corners, [texts]), colors)


def placed_labels(image: np.ndarray, corners: np.ndarray, wordings: Sequence[Sequence[str]]) -> list[Label]:
    """The labels of boxes, none over another; a box without a free place has none.

    Args:
        image: uint8 ``(H, W, 3)``.
        corners: ``(N, 4)`` int, the boxes; the last ones are placed first.
        wordings: the texts of all boxes, then shorter ones, taken where the former have no place, or where all of them
            would cover too much of the image.
    """
    font = font_of_size(text_size(image))
    size = image.shape[1], image.shape[0]
    widths = [[_width(font, text) for text in texts] for texts in wordings]
    fitting = [
        (texts, own)
        for texts, own in zip(wordings, widths, strict=True)
        if len(texts) <= 1 or _height(font) * sum(own) <= _MOST_TEXT * size[0] * size[1]
    ]
    labels: list[Label] = []
    taken = np.zeros((0, 4), int)
    for index in reversed(range(len(corners))):
        for texts, own in fitting:
            place = _free_place(corners[index].tolist(), (own[index], _height(font)), size, taken)
            if place is not None:
                labels.append(Label(index, place, texts[index]))
                taken = np.concatenate((taken, [place]))
                break
    return labels


def write_labels(image: np.ndarray, labels: Sequence[Label], colors: Sequence[Color]) -> np.ndarray:
    """A copy of `image` with the labels on the colors of their objects; `image` itself without labels."""
    if not labels:
        return image
    font = font_of_size(text_size(image))
    canvas = Image.fromarray(image)
    draw = ImageDraw.Draw(canvas)
    for label in reversed(labels):
        left, top, right, bottom = label.place
        color = colors[label.index]
        draw.rectangle((left, top, right - 1, bottom - 1), fill=color)
        draw.text((left + _pad(font), top), label.text, font=font, fill=_readable_on(color))
    return np.array(canvas)


def draw_legend(
    image: np.ndarray, entries: Sequence[tuple[str, Color]], corners: np.ndarray, labels: Sequence[Label]
) -> np.ndarray:
    """A copy of `image` with texts on their colors, one below the other in the corner with the fewest objects and
    labels; as many as leave the image to be seen.

    Args:
        image: uint8 ``(H, W, 3)``.
        entries: each text and its color, the most important first.
        corners: ``(N, 4)`` int, the boxes of the objects.
        labels: those in the image.
    """
    font = font_of_size(text_size(image))
    height, width = image.shape[:2]
    line, wide = _height(font), max(_width(font, text) for text, _ in entries)
    count = min(len(entries), int(_MOST_TEXT * width * height / (line * wide)), height // (2 * line))
    if wide > width or count < 1:
        return image
    covered = np.concatenate((corners, np.array([label.place for label in labels], int).reshape(-1, 4)))
    x, y = width - wide, height - line * count
    places = [(left, top, left + wide, top + line * count) for left, top in ((x, y), (0, y), (x, 0), (0, 0))]
    left, top, _, _ = min(places, key=lambda place: _overlap(place, covered))
    rows = [
        Label(row, (left, top + row * line, left + wide, top + (row + 1) * line), entries[row][0])
        for row in range(count)
    ]
    return write_labels(image, rows, [color for _, color in entries])


def _overlap(place: Box, others: np.ndarray) -> int:
    """The area of `others` ``(N, 4)`` within `place`."""
    low, high = np.maximum(others[:, :2], place[:2]), np.minimum(others[:, 2:], place[2:])
    return int((high - low).clip(0).prod(axis=1).sum())


def _free_place(box: list[int], size: tuple[int, int], image_size: tuple[int, int], taken: np.ndarray) -> Box | None:
    """A place for a label of `size` ``(width, height)`` above, within, below or next to its object that overlaps none
    of `taken`; None where there is none, or where the text would cover the image."""
    left, top, right, bottom = box
    width, height = size
    if width > image_size[0] or 2 * height > image_size[1]:
        return None
    corners = [
        (left, top - height),
        (left, top),
        (right - width, top - height),
        (left, bottom),
        (right - width, bottom),
        (right, top),
        (left - width, top),
        (left, bottom - height),
    ]
    for x, y in corners:
        x = max(0, min(x, image_size[0] - width))
        y = max(0, min(y, image_size[1] - height))
        place = x, y, x + width, y + height
        if not _overlap(place, taken):
            return place
    return None


def _width(font: ImageFont.FreeTypeFont, text: str) -> int:
    return math.ceil(font.getlength(text)) + 2 * _pad(font)


def _height(font: ImageFont.FreeTypeFont) -> int:
    return sum(font.getmetrics())


def _pad(font: ImageFont.FreeTypeFont) -> int:
    return max(1, round(font.size / 6))


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
