"""The rows of a binary PLY file."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.mesh_files.mesh_parts import Integers
from detkit.mesh_files.ply.ply_columns import Column, truncated
from detkit.mesh_files.ply.ply_headers import Element, Header, Property

_STRUCT_CODES = {"i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_LARGEST_ROW = 2**31 - 1
"""Of numpy's structured types, in bytes."""


class BinaryRows:
    """The elements of a binary file, read one after the other.

    Args:
        path: of the file, for messages.
        content: of the whole file.
        header: of the file.
    """

    lines: Sequence[int] = ()
    """The lines of the rows read last, which a binary file has none of."""

    def __init__(self, path: str | Path, content: bytes, header: Header) -> None:
        self._path = path
        self._content = content
        self._order = header.byte_order
        self._position = header.size

    def columns(self, element: Element, names: Sequence[str]) -> dict[str, Column]:
        """The named properties of the next element; the others are skipped.

        Raises:
            InputError: the file ends before, or a list has a negative length.
        """
        row_size = sum(int((each.count_code or each.code)[1]) for each in element.properties)  # of empty lists
        if element.count * row_size > len(self._content) - self._position:
            raise truncated(self._path, element)
        if not element.properties or not element.count:
            return {each.name: _empty(each) for each in element.properties if each.name in names}
        _, lengths, _, _ = self._scan(element, 1)
        columns = self._alike(element, lengths[0].tolist(), names)
        return self._ragged(element, names) if columns is None else columns

    def finish(self) -> None:
        """Refuse what follows the last element.

        Raises:
            InputError: there are bytes that are no space and no zero.
        """
        rest = self._content[self._position :]
        if rest.strip(b"\0\r\n\t "):
            raise InputError(
                f"{self._path}: {len(rest)} bytes follow the last row that the header of this PLY file names; "
                "export it again"
            )

    def _alike(self, element: Element, lengths: Sequence[int], names: Sequence[str]) -> dict[str, Column] | None:
        """The properties where the lists of all rows have the lengths of the first row's; None where they do not."""
        fields: list[tuple[str, str] | tuple[str, str, tuple[int]]] = []
        remaining = iter(lengths)
        size = 0
        for number, each in enumerate(element.properties):
            if each.count_code:
                length = next(remaining)
                fields += [(f"count{number}", self._order + each.count_code)]
                fields += [(f"value{number}", self._order + each.code, (length,))]
                size += int(each.count_code[1]) + length * int(each.code[1])
            else:
                fields.append((f"value{number}", self._order + each.code))
                size += int(each.code[1])
        if element.count * size > len(self._content) - self._position or size > _LARGEST_ROW:
            return None
        rows = np.frombuffer(self._content, np.dtype(fields), element.count, self._position)
        lists = [number for number, each in enumerate(element.properties) if each.count_code]
        for number, length in zip(lists, lengths, strict=True):
            if (rows[f"count{number}"] != length).any():
                return None
        self._position += element.count * size
        columns = {}
        for number, each in enumerate(element.properties):
            if each.name in names:
                counts = rows[f"count{number}"].astype(np.int64) if each.count_code else None
                columns[each.name] = Column(rows[f"value{number}"].reshape(-1), counts)
        return columns

    def _ragged(self, element: Element, names: Sequence[str]) -> dict[str, Column]:
        """The properties where lists have several lengths."""
        starts, lengths, row_starts, end = self._scan(element, element.count)
        columns = {}
        offsets, number = row_starts, 0
        for each in element.properties:
            size = int(each.code[1])
            if each.count_code:
                counts = lengths[:, number]
                if each.name in names:
                    within = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
                    items = np.repeat(starts[:, number], counts) + within * size
                    columns[each.name] = Column(self._gathered(items, each.code), counts)
                offsets, number = starts[:, number] + counts * size, number + 1
            else:
                if each.name in names:
                    columns[each.name] = Column(self._gathered(offsets, each.code))
                offsets = offsets + size
        self._position = end
        return columns

    def _scan(self, element: Element, count: int) -> tuple[Integers, Integers, Integers, int]:
        """Of the next rows: ``(N, L)`` where each list begins, its length, ``(N,)`` where each row begins, and the end.

        Raises:
            InputError: the file ends before, or a list has a negative length.
        """
        steps: list[tuple[int, struct.Struct, int]] = []
        skipped = 0
        for each in element.properties:
            if each.count_code:
                steps.append((skipped, struct.Struct(self._order + _STRUCT_CODES[each.count_code]), int(each.code[1])))
                skipped = 0
            else:
                skipped += int(each.code[1])
        position, content = self._position, self._content
        starts, lengths, row_starts = [], [], []
        for row in range(count):
            row_starts.append(position)
            for before, number, item_size in steps:
                position += before
                if position + number.size > len(content):
                    raise truncated(self._path, element)
                (length,) = number.unpack_from(content, position)
                if length < 0:
                    raise InputError(
                        f"{self._path}: a list of row {row} of element {element.name!r} has the length {length}; "
                        "export this PLY file again"
                    )
                position += number.size
                starts.append(position)
                lengths.append(length)
                position += length * item_size
            position += skipped
        if position > len(content):
            raise truncated(self._path, element)
        shape = (count, len(steps))
        return (
            np.array(starts, dtype=np.int64).reshape(shape),
            np.array(lengths, dtype=np.int64).reshape(shape),
            np.array(row_starts, dtype=np.int64),
            position,
        )

    def _gathered(self, offsets: Integers, code: str) -> NDArray[Any]:
        """The values of a type that begin at these bytes, which need not be aligned."""
        size = int(code[1])
        octets = np.frombuffer(self._content, np.uint8)[offsets[:, None] + np.arange(size)]
        return np.ascontiguousarray(octets).view(self._order + code).reshape(-1)


def _empty(each: Property) -> Column:
    return Column(np.zeros(0, each.code), np.zeros(0, np.int64) if each.count_code else None)
