"""Folders of images and maps, written with Pillow for tests."""

import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from detkit.data import MapFolderDataset, open_split

SIZE = (20, 30)
COLORS = [(0, 0, 0), (200, 10, 10), (0, 90, 255)]
NAMES = "road\ncar\nsky\n"
COLORED = "road 0 0 0\ncar 200,10,10\nsky: 0, 90, 255\n"


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


def map_folder(root: Path, save, classes: str = NAMES, count: int = 3, values=(0, 1, 2, 255)) -> list[np.ndarray]:
    maps = [blocks(list(values), number) for number in range(count)]
    for number, values in enumerate(maps):
        write_image(root / f"images/train/{number}.jpg", seed=number)
        save(root / f"masks/train/{number}.png", values)
    (root / "classes.txt").write_text(classes)
    return maps


def read_folder(root: Path, **options) -> list[np.ndarray]:
    dataset = open_split(root, "train", reads={"label_map"}, **options)
    assert isinstance(dataset, MapFolderDataset)
    return [dataset.target(index).label_map.numpy() for index in range(len(dataset))]


def write_colors(path, values):
    table = np.zeros((256, 3), np.uint8)
    table[: len(COLORS)] = COLORS
    write_map(path, table[values])


def png_bytes(size, bits, kind, rows, palette=b"", interlaced=False) -> bytes:
    """A PNG file, of rows that begin with their filter."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", size[1], size[0], bits, kind, 0, 0, int(interlaced))
    colors = chunk(b"PLTE", palette) if palette else b""
    data = chunk(b"IDAT", zlib.compress(b"".join(rows)))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + colors + data + chunk(b"IEND", b"")
