"""The backgrounds of the `Shapes`: one for the whole image, or regions of several stuff classes."""

from __future__ import annotations

import colorsys

import cv2
import numpy as np

_GOLDEN = (5**0.5 - 1) / 2
_CELLS = 4  # of the noise that parts an image into regions


def plain_background(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A float32 image ``(H, W, 3)`` and its mean color."""
    base = random.uniform(40, 215, 3)
    kind = random.integers(3)
    if kind == 0:
        direction = random.normal(0, 1, 2)
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j].astype(np.float32)
        pattern = (x * direction[0] + y * direction[1]) / np.abs(direction).sum()
    elif kind == 1:
        angle, period = random.uniform(0, np.pi), random.uniform(6, 24)
        y, x = np.mgrid[:height, :width].astype(np.float32)
        pattern = np.sin((x * np.cos(angle) + y * np.sin(angle)) * (2 * np.pi / period))
    else:
        pattern = _clouds(random, height, width)
    amplitude = random.uniform(5, 25) * random.uniform(0.5, 1, 3)
    image = base + pattern[..., None] * amplitude
    return image.astype(np.float32), base


def _clouds(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    """Value noise in [-1, 1]: random grids of growing fineness, enlarged and added."""
    noise = np.zeros((height, width), dtype=np.float32)
    for cells, weight in ((4, 0.55), (9, 0.3), (20, 0.15)):
        grid = random.uniform(-1, 1, (cells, cells)).astype(np.float32)
        noise += weight * cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    return noise


def stuff_color(number: int) -> tuple[int, int, int]:
    """The color of a stuff class, ``(red, green, blue)``: hues of any number of classes differ."""
    red, green, blue = colorsys.hsv_to_rgb(number * _GOLDEN % 1, 0.45, 0.65)
    return round(red * 255), round(green * 255), round(blue * 255)


def regions_background(
    random: np.random.Generator, height: int, width: int, count: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A float32 image ``(H, W, 3)`` of regions, the mean colors ``(count, 3)``, and the class of each pixel ``(H, W)``.

    Each class has a texture and about the same color in all images.
    """
    levels = [_smooth(random, height, width) + random.uniform(-0.4, 0.4) for _ in range(count)]
    regions = np.argmax(levels, axis=0)
    bases = np.array([stuff_color(number) for number in range(count)]) + random.uniform(-20, 20, (count, 3))
    image = np.empty((height, width, 3), dtype=np.float32)
    for number, base in enumerate(bases):
        amplitude = random.uniform(12, 25) * random.uniform(0.7, 1, 3)
        layer = base + _texture(random, number, height, width)[..., None] * amplitude
        image = np.where((regions == number)[..., None], layer.astype(np.float32), image)
    return image, bases, regions


def _smooth(random: np.random.Generator, height: int, width: int) -> np.ndarray:
    grid = random.uniform(-1, 1, (_CELLS, _CELLS)).astype(np.float32)
    return cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)


def _texture(random: np.random.Generator, number: int, height: int, width: int) -> np.ndarray:
    """The pattern in [-1, 1] of a stuff class: clouds, stripes, checks or dots, of four classes each coarser."""
    period = (5 + 3 * (number // 4)) * random.uniform(0.9, 1.1)
    if number % 4 == 0:
        return _clouds(random, height, width)
    angle = random.uniform(0, np.pi)
    y, x = np.mgrid[:height, :width].astype(np.float32) * (2 * np.pi / period)
    along, across = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    if number % 4 == 1:
        return np.sin(along)
    waves = np.sin(along) * np.sin(across)
    return np.sign(waves) if number % 4 == 2 else np.where(np.abs(waves) > 0.6, 1.0, -0.5)
