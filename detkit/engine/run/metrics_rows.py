"""The rows of ``metrics.csv``, also of a file whose writing was cut off."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files import not_written, read_bytes

Row = dict[str, Any]


def all_rows(path: Path) -> list[Row]:
    """The whole rows of the file, as text; none where there is no file.

    Raises:
        InputError: it cannot be read, or has no column of steps.
    """
    return rows_before(path, sys.maxsize)[1]


def rows_before(path: Path, step: int) -> tuple[list[str], list[Row]]:
    """The columns of the file, and its whole rows before `step`; nothing where there is no file.

    Raises:
        InputError: it cannot be read, or has no column of steps.
    """
    content = read_bytes(path, "a CSV file") if path.is_file() else b""
    whole = content[: content.rfind(b"\n") + 1].decode("utf-8", errors="replace")
    columns, *lines = list(csv.reader(io.StringIO(whole, newline=""))) or [[]]
    if columns and "step" not in columns:
        raise InputError(f"{path} has no column step: move it away to resume without the rows so far.")
    rows = [dict(zip(columns, cells, strict=True)) for cells in lines if len(cells) == len(columns)]
    return columns, [row for row in rows if row["step"].isdecimal() and int(row["step"]) < step]


def is_repeated(row: Row, before: Row) -> bool:
    """Whether `row` has the same step and metrics as the one `before` it: a validation that a kill has cut off."""
    filled = {name for name, value in before.items() if value != ""}
    return str(row["step"]) == str(before["step"]) and row.keys() == filled


def as_text(columns: Sequence[str], rows: Sequence[Mapping[str, Any]], header: bool) -> bytes:
    """Rows as CSV."""
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, columns)
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8")


def append(path: Path, lines: bytes) -> None:
    """Append lines to a file: all of them, or nothing.

    Raises:
        InputError: the disk is full, or the file cannot be written.
    """
    descriptor = -1
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        size = os.fstat(descriptor).st_size
        try:
            left = memoryview(lines)
            while left:
                left = left[os.write(descriptor, left) :]
        except OSError:
            os.ftruncate(descriptor, size)
            raise
    except OSError as error:
        raise not_written(path, error) from error
    finally:
        if descriptor >= 0:
            os.close(descriptor)
