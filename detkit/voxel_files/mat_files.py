"""Arrays of numbers in MATLAB's ``.mat`` files of versions 5 to 7.

scipy reads these too, but corrupt ones make its reader crash the process.
"""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError

_CODES = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""numpy's codes of the types in which numbers are stored."""

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = range(6, 16)
"""The classes of arrays that hold numbers, and no cells, structures, texts or sparse matrices."""

_HEADER = 128
_LONGEST_DESCRIPTION = 1024
"""Bytes of an array before its numbers: its class, sizes and name of at most 63 characters."""


def mat_array(path: str | Path, content: bytes, name: str, axes: int) -> NDArray[Any] | None:
    """The array of numbers of that name and so many axes; None where the file has none.

    Raises:
        InputError: the content is no such file, or is cut off.
    """
    if content[_HEADER - 4 : _HEADER] == b"\0\2IM" or content[:8] == b"\x89HDF\r\n\x1a\n":
        raise InputError(f"{path}: this is a .mat file of MATLAB 7.3, which is not read; save it with '-v7'")
    order = {b"IM": "<", b"MI": ">"}.get(content[_HEADER - 2 : _HEADER])
    if order is None:
        raise InputError(f"{path}: this is no .mat file of MATLAB 5 to 7; give another file")
    try:
        return _Reader(order).variable(memoryview(content)[_HEADER:], name, axes)
    except (struct.error, zlib.error, _BrokenError) as error:
        raise InputError(f"{path}: this .mat file is cut off or damaged; copy it again") from error


class _BrokenError(Exception):
    """The parts of a file do not fit together."""


class _Reader:
    """Reads elements, each of a type and a size; `order` is the sign of their byte order."""

    def __init__(self, order: str) -> None:
        self._order = order

    def variable(self, data: memoryview, name: str, axes: int) -> NDArray[Any] | None:
        while len(data) >= 8:
            kind, size = self._unpack("II", data)
            if len(data) < 8 + size:
                raise _BrokenError
            body, data = data[8 : 8 + size], data[8 + size :]
            if kind == _COMPRESSED:
                kind, matrix_size = self._unpack("II", _inflated(body, 8))
            else:
                matrix_size = None
            if kind != _MATRIX:
                continue
            start = body if matrix_size is None else memoryview(_inflated(body, 8 + _LONGEST_DESCRIPTION))[8:]
            shape, numbers = self._described(start, name)
            if shape is not None and len(shape) == axes:
                whole = body if matrix_size is None else memoryview(_inflated(body, 8 + matrix_size))[8:]
                return self._numbers(whole[numbers:], shape)
        if data:
            raise _BrokenError
        return None

    def _described(self, body: memoryview, name: str) -> tuple[list[int] | None, int]:
        """The shape of an array of numbers of that name, else None; and where its numbers begin."""
        _, flags, position = self._element(body, 0)
        (flag,) = self._unpack("I", flags)
        if flag & 0xFF not in _NUMBERS:
            return None, 0
        _, sizes, position = self._element(body, position)
        _, letters, position = self._element(body, position)
        shape = list(struct.unpack(f"{self._order}{len(sizes) // 4}i", sizes[: len(sizes) // 4 * 4]))
        return (shape if bytes(letters) == name.encode() else None), position

    def _numbers(self, body: memoryview, shape: list[int]) -> NDArray[Any]:
        """The real part, whose first axis runs fastest."""
        kind, values, _ = self._element(body, 0)
        code = _CODES.get(kind)
        if code is None or min(shape) < 0 or math.prod(shape) * int(code[1]) != len(values):
            raise _BrokenError
        return np.frombuffer(values, self._order + code).reshape(shape, order="F")

    def _element(self, data: memoryview, position: int) -> tuple[int, memoryview, int]:
        """The type and content of the element at a position, and the position of the next."""
        kind, size = self._unpack("II", data[position:])
        first = position + 8
        if kind >> 16:  # a small element has its content in its tag
            kind, size, first = kind & 0xFFFF, kind >> 16, position + 4
        content = data[first : first + size]
        if len(content) < size:
            raise _BrokenError
        return kind, content, first + size + (-(first + size) % 8)

    def _unpack(self, kinds: str, data: memoryview | bytes) -> tuple[int, ...]:
        return struct.unpack_from(self._order + kinds, data)


def _inflated(data: memoryview, size: int) -> bytes:
    """The first bytes of what is compressed, and no more: little data may hold a great deal."""
    return zlib.decompressobj().decompress(data, size)
