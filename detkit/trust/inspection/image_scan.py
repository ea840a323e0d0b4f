"""Look at image files: whether they can be decoded, their sizes, and fingerprints by which equal ones are found."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np

from detkit.errors import InputError
from detkit.files import read_bytes
from detkit.images import decode_image
from detkit.images.reading import Header, read_header

THUMBNAIL = 32
"""The side of the gray thumbnails in pixels."""


class ImageFile(NamedTuple):
    """An image file of a data set.

    Args:
        split: the position of its split.
        row: the position of the image in its split.
        path: of the file.
    """

    split: int
    row: int
    path: Path


@dataclass(frozen=True, eq=False)
class ScannedImages:
    """k image files after a look at their pixels.

    Args:
        files: the files.
        errors: of each, why it cannot be decoded; None: it can.
        headers: of each; None where it cannot be decoded.
        contents: a digest of the pixels and the size of each, empty where it cannot be decoded.
        thumbnails: uint8 ``(k, 32, 32)`` gray.
    """

    files: Sequence[ImageFile]
    errors: Sequence[str | None]
    headers: Sequence[Header | None]
    contents: Sequence[bytes]
    thumbnails: np.ndarray

    def __len__(self) -> int:
        return len(self.files)


class _Seen(NamedTuple):
    error: str | None
    header: Header | None
    content: bytes
    thumbnail: np.ndarray


def scan_images(files: Sequence[ImageFile], progress: Callable[[int], None]) -> ScannedImages:
    """Decode image files in threads.

    Args:
        files: the files.
        progress: told after each file how many are done.
    """
    seen: list[_Seen] = []
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding and hashing leave the interpreter to other threads
        for one in pool.map(_look_at, [file.path for file in files]):
            seen.append(one)
            progress(len(seen))
    thumbnails = np.stack([one.thumbnail for one in seen]) if seen else np.zeros((0, THUMBNAIL, THUMBNAIL), np.uint8)
    return ScannedImages(
        files, [one.error for one in seen], [one.header for one in seen], [one.content for one in seen], thumbnails
    )


def _look_at(path: Path) -> _Seen:
    try:
        pixels = decode_image(read_bytes(path, "an image file"), path)
        header = read_header(path)
    except InputError as error:
        return _Seen(str(error), None, b"", np.zeros((THUMBNAIL, THUMBNAIL), np.uint8))
    pixels = np.ascontiguousarray(pixels)
    digest = hashlib.blake2b(repr(pixels.shape).encode(), digest_size=16)
    digest.update(pixels.data)
    return _Seen(None, header, digest.digest(), thumbnail(pixels))


def thumbnail(pixels: np.ndarray) -> np.ndarray:
    """A small gray image, uint8 ``(32, 32)``, of an image ``(H, W, 3)`` RGB; its shape is not kept."""
    small = cv2.resize(pixels, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY)
