"""Folders of images and maps, written with Pillow for tests."""

from pathlib import Path

import numpy as np
from PIL import Image

SIZE = (20, 30)


def write_image(path: Path, size: tuple[int, int] = SIZE, seed: int = 0) -> None:
    """An image of noise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*size, 3), dtype=np.uint8)).save(path)


def write_map(path: Path, values: np.ndarray, palette: list[int] | None = None, **options) -> None:
    """A PNG of these values; with a palette, an indexed one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(values)
    if palette is not None:
        image.putpalette(palette)
    image.save(path, **options)


def blocks(values: list[int], seed: int = 0, size: tuple[int, int] = SIZE) -> np.ndarray:
    """Random blocks of 5 pixels of these values, uint8."""
    small = np.random.default_rng(seed).choice(values, (size[0] // 5, size[1] // 5))
    return small.repeat(5, 0).repeat(5, 1).astype(np.uint8)
