"""Grids of images with titles."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw

from detkit.deprecation import moved_names
from detkit.visualization.image_files import font_of_size

CELL = 480
"""The longer side of an image in a grid, in pixels."""

_MARGIN = 12


def image_row(cells: list[np.ndarray], columns: int) -> np.ndarray:
    """Images side by side on white, each in the middle of its column."""
    height = max(cell.shape[0] for cell in cells) + _MARGIN
    row = np.full((height, columns * (CELL + _MARGIN) + _MARGIN, 3), 255, np.uint8)
    for column, cell in enumerate(cells):
        left = _MARGIN + column * (CELL + _MARGIN) + (CELL - cell.shape[1]) // 2
        top = (height - _MARGIN - cell.shape[0]) // 2
        row[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return row


def title_row(titles: list[str]) -> np.ndarray:
    """A row of titles, each above its column."""
    font = font_of_size(17, bold=True)
    canvas = Image.new("RGB", (len(titles) * (CELL + _MARGIN) + _MARGIN, 42), "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        middle = _MARGIN + column * (CELL + _MARGIN) + CELL // 2
        draw.text((middle, 21), title, font=font, fill=(40, 40, 40), anchor="mm")
    return np.array(canvas)


__getattr__ = moved_names(__name__, {"picture_row": "detkit.visualization.grid.image_row"})
