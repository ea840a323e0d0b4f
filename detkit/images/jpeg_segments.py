"""The segments of a JPEG file. Format: ITU-T T.81, annex B."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

JPEG = b"\xff\xd8"
"""With which a JPEG file begins."""

_SCAN, _END, _PADDING = 0xDA, 0xD9, 0xFF


def jpeg_segments(file: BinaryIO) -> Iterator[tuple[int, int]]:
    """The marker of each segment before the first scan, and where its content begins, at which the file then stands."""
    position = 2
    while True:
        file.seek(position)
        head = file.read(4)
        if len(head) < 4 or head[0] != 0xFF or head[1] in (_SCAN, _END):
            return
        if head[1] == _PADDING:
            position += 1
            continue
        file.seek(position + 4)
        yield head[1], position + 4
        position += 2 + int.from_bytes(head[2:], "big")
