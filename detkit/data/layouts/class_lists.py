"""The classes of formats that name them in each annotation: listed in a file, and numbered as in a COCO file."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.files.text_documents import read_lines

_MOST = 20  # names in a message


def listed_classes(root: Path, files: Sequence[str], without: Collection[str] = ()) -> list[str]:
    """The lines of the first of these files that a folder has; empty where it has none.

    Args:
        root: the folder.
        files: their names, such as ``classes.txt``.
        without: lines that are no classes.
    """
    for name in files:
        if os.path.isfile(root / name):
            return [line for _, line in read_lines(root / name) if line not in without]
    return []


def numbered_classes(names: Iterable[str], root: Path) -> dict[str, int]:
    """The category id of each class: from 1, in their order.

    Raises:
        InputError: a class is listed twice; the message names `root`.
    """
    numbers: dict[str, int] = {}
    for name in names:
        if name in numbers:
            raise InputError(f"{root}: the class {shown(name)} is listed twice; list each class once")
        numbers[name] = len(numbers) + 1
    return numbers


def category_entries(numbers: Mapping[str, int]) -> list[dict[str, Any]]:
    """The ``categories`` of a COCO file."""
    return [{"id": number, "name": name} for name, number in numbers.items()]


def not_among(name: str, numbers: Mapping[str, int]) -> str:
    """The words for a class that is not among the numbered ones."""
    return f"{shown(name)} is not among {', '.join(list(numbers)[:_MOST])}"
