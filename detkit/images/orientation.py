"""The orientation of an image file: how its pixels are to be turned, and whether its annotations expect them so.

Format: CIPA DC-008, "Exif 2.32", section 4.6; TIFF 6.0, section 2.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Mapping
from typing import BinaryIO

import cv2
import numpy as np

from detkit.images.jpeg_segments import JPEG, jpeg_segments

Size = tuple[int, int]
"""Height and width in pixels."""

_ORIENTATION = 274  # the TIFF tag
_FLIPS = {2: 1, 3: -1, 4: 0, 6: 1, 7: -1, 8: 0}
"""OpenCV's code of the flip of an orientation, after the transposition of those above 4."""

_EXIF_MARKER = b"Exif\0\0"
_MOST_TAGS = 1000


def turned(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The pixels ``(H, W, …)`` as they are to be seen.

    Args:
        pixels: as stored.
        orientation: 1 to 8, as in EXIF: 1 means as stored, 2 mirrored, 3 turned by 180 degrees, and so on.
    """
    if orientation >= 5:
        pixels = cv2.transpose(pixels)
    code = _FLIPS.get(orientation)
    return pixels if code is None else cv2.flip(pixels, code)


def turned_back(pixels: np.ndarray, orientation: int) -> np.ndarray:
    """The stored pixels of those that `turned` gives."""
    return turned(pixels, {6: 8, 8: 6}.get(orientation, orientation))


def turned_size(size: Size, orientation: int) -> Size:
    """The size of an image that is stored with `size`, as it is to be seen."""
    return (size[1], size[0]) if orientation >= 5 else size


def annotated_orientation(stored: Size, orientation: int, annotated: Size | None) -> int | None:
    """The orientation in which an image was annotated: as it is to be seen, unless only the stored size fits.

    Args:
        stored: the size of the stored pixels.
        orientation: of the file, 1 to 8.
        annotated: the size that the annotations state; None: they state none.

    Returns:
        `orientation`, 1 for the stored pixels, or None where neither has the annotated size.
    """
    if annotated is None or annotated == turned_size(stored, orientation):
        return orientation
    return 1 if annotated == stored else None


def orientation_in(tags: Mapping[int, int]) -> int:
    """The orientation among the tags of a file, 1 to 8; 1 where they state none or another number."""
    orientation = tags.get(_ORIENTATION, 1)
    return orientation if orientation in range(1, 9) else 1


def read_tags(file: BinaryIO, segments: Iterable[tuple[int, int]] | None = None) -> Mapping[int, int]:
    """The whole numbers in the first directory of a TIFF file, or of the EXIF block in a JPEG, PNG or WebP file.

    Args:
        file: from its beginning.
        segments: the `jpeg_segments` of a JPEG; None: they are read.
    """
    file.seek(0)
    start = file.read(12)
    if start[:2] == JPEG:
        block = _exif_of_jpeg(file, jpeg_segments(file) if segments is None else segments)
    elif start[:4] == b"\x89PNG":
        block = _chunk(file, 8, b"eXIf", ">", is_png=True)
    elif start[:4] == b"RIFF" and start[8:] == b"WEBP":
        block = _chunk(file, 12, b"EXIF", "<", is_png=False)
    elif start[:4] in (b"II*\0", b"MM\0*"):
        return _tags(file, 0)
    else:
        return {}
    return {} if block is None else _tags(file, block)


def _exif_of_jpeg(file: BinaryIO, segments: Iterable[tuple[int, int]]) -> int | None:
    """Where the EXIF block begins."""
    for marker, position in segments:
        if marker == 0xE1:
            file.seek(position)
            if file.read(6) == _EXIF_MARKER:
                return position + 6
    return None


def _chunk(file: BinaryIO, position: int, kind: bytes, order: str, is_png: bool) -> int | None:
    """Where the content of the first chunk of this kind begins, in a PNG or a RIFF file."""
    while True:
        file.seek(position)
        head = file.read(8)
        if len(head) < 8:
            return None
        length, name = struct.unpack(f"{order}I4s" if is_png else f"{order}4sI", head)[:: 1 if is_png else -1]
        position += 8
        if name == kind:
            if file.read(6) == _EXIF_MARKER:  # some programs repeat the marker of JPEG
                return position + 6
            return position
        if name == b"IEND":
            return None
        position += length + (4 if is_png else length % 2)


def _tags(file: BinaryIO, block: int) -> Mapping[int, int]:
    """The whole numbers in the first directory of a TIFF structure that begins at `block`."""
    file.seek(block)
    head = file.read(8)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or len(head) < 8:
        return {}
    file.seek(block + struct.unpack(f"{order}I", head[4:])[0])
    count = file.read(2)
    if len(count) < 2:
        return {}
    entries = file.read(12 * min(struct.unpack(f"{order}H", count)[0], _MOST_TAGS))
    tags: dict[int, int] = {}
    for start in range(0, len(entries) - 11, 12):
        tag, kind, number = struct.unpack(f"{order}HHI", entries[start : start + 8])
        if number == 1 and kind in (3, 4):  # SHORT, LONG
            size = "HI"[kind - 3]
            tags.setdefault(tag, struct.unpack_from(f"{order}{size}", entries, start + 8)[0])
    return tags
