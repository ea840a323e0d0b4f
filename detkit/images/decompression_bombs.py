"""Decompression bombs: images whose header states far more pixels than the file can hold, so that a decoder takes
gigabytes."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from detkit.images.jpeg_segments import JPEG

_MANY_PIXELS = 2**26
_PIXELS_OF_A_BYTE = 16384
"""More than a blank JPEG, GIF or PNG has; a PNG of one bit has 8256."""

_FRAMES = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
"""The markers of a JPEG's start of frame."""


def is_decompression_bomb(data: bytes, segments: Sequence[tuple[int, int]]) -> bool:
    """Whether a JPEG, GIF or PNG is one; the decoders of other formats stop where the file ends.

    Args:
        data: the file.
        segments: the `jpeg_segments` of a JPEG.
    """
    if len(data) * _PIXELS_OF_A_BYTE > 2**30:  # no decoder takes more pixels than that
        return False
    pixels = 0
    if data.startswith(b"GIF8") and len(data) >= 10:
        width, height = struct.unpack("<HH", data[6:10])
        pixels = width * height
    elif data.startswith(b"\x89PNG") and len(data) >= 24:
        width, height = struct.unpack(">II", data[16:24])
        pixels = width * height
    elif data.startswith(JPEG):
        for marker, start in segments:
            if marker in _FRAMES and len(size := data[start : start + 5]) == 5:
                height, width = struct.unpack(">xHH", size)
                pixels = height * width
                break
    return pixels > max(_MANY_PIXELS, _PIXELS_OF_A_BYTE * len(data))
