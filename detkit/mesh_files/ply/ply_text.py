"""The rows of a PLY file of text, one a line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detkit.errors import InputError
from detkit.files.json_values import shortened
from detkit.files.text_documents import numbers_in
from detkit.mesh_files.ply.ply_columns import Column, truncated
from detkit.mesh_files.ply.ply_headers import Element, Header

_NO_LENGTH = 2**62


class TextRows:
    """The elements of a file of text, read one after the other.

    Args:
        path: of the file, for messages.
        content: of the whole file.
        header: of the file.
    """

    lines: Sequence[int] = ()
    """The lines of the rows read last."""

    def __init__(self, path: str | Path, content: bytes, header: Header) -> None:
        self._path = path
        text = content[header.size :].decode("latin-1").replace("\r\n", "\n").replace("\r", "\n")
        numbered = enumerate(text.split("\n"), start=header.lines + 1)
        self._rows = [(number, line) for number, line in numbered if line.strip()]
        self._next = 0

    def columns(self, element: Element, names: Sequence[str]) -> dict[str, Column]:
        """The named properties of the next element, in float64; the others are skipped.

        Raises:
            InputError: the file ends before, or a line has other values than the header says.
        """
        rows = self._rows[self._next : self._next + (element.count if element.properties else 0)]
        if element.properties and len(rows) < element.count:
            raise truncated(self._path, element)
        self._next += len(rows)
        self.lines = [number for number, _ in rows]
        asked = [number for number, each in enumerate(element.properties) if each.name in names]
        if not asked:
            return {}
        values: list[list[float]] = [[] for _ in element.properties]
        counts: list[list[int]] = [[] for _ in element.properties]
        for line, text in rows:
            cells = self._cells(element, line, text)
            for number in asked:
                values[number] += cells[number]
                counts[number].append(len(cells[number]))
        return {
            element.properties[number].name: Column(
                np.array(values[number], dtype=np.float64),
                np.array(counts[number], dtype=np.int64) if element.properties[number].count_code else None,
            )
            for number in asked
        }

    def finish(self) -> None:
        """Refuse what follows the last element.

        Raises:
            InputError: there are further lines.
        """
        if self._next < len(self._rows):
            raise InputError(
                f"{self._path}, line {self._rows[self._next][0]}: the header of this PLY file names no such row; "
                "correct the number of rows there"
            )

    def _cells(self, element: Element, line: int, text: str) -> list[list[float]]:
        """The values of each property in a row."""
        numbers = numbers_in(text) or []
        cells: list[list[float]] = []
        position = 0
        for each in element.properties:
            length = 1
            if each.count_code:
                length = _length(numbers[position : position + 1])
                position += 1
            cells.append(numbers[position : position + length])
            position += length
        if not numbers or position != len(numbers):
            listed = ", ".join(f"a list {each.name}" if each.count_code else each.name for each in element.properties)
            raise InputError(
                f"{self._path}, line {line}: a row of element {element.name!r} has the values {listed}, "
                f"not {shortened(text, 40)!r}"
            )
        return cells


def _length(numbers: list[float]) -> int:
    """The length of a list that a number is; more than any row has where it is none."""
    return int(numbers[0]) if numbers and numbers[0] >= 0 and numbers[0].is_integer() else _NO_LENGTH
