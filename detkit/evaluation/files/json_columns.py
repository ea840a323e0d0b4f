"""Read lists of objects in a JSON file as one array per key, by native code, without a Python object per entry."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
import torch

from detkit.evaluation.packed_objects import Masks, Ragged
from detkit.ops import coco
from detkit.ops.coco import fill_masks

Kind = Literal["key", "number", "flag", "numbers", "mask"]
"""What a key of the objects holds; see `read_json_columns`."""


@dataclass(frozen=True, eq=False)
class Keys:
    """Numbers or strings that many of N objects share.

    Args:
        index: int64 ``(N,)`` the position in `values` of each object's value.
        values: the D different numbers and strings, in the order in which they first occur.
    """

    index: np.ndarray
    values: list[Any]

    def __len__(self) -> int:
        return len(self.index)

    def as_list(self) -> list[Any]:
        """The N values."""
        if len(self.values) == len(self.index):  # all are different, and numbered in their order
            return list(self.values)
        return [self.values[position] for position in self.index.tolist()]

    def positions(self, known: Mapping[Any, int]) -> np.ndarray:
        """int64 ``(N,)`` the positions of the values in `known`; -1 for unknown ones."""
        return np.array([known.get(value, -1) for value in self.values], dtype=np.int64)[self.index]


@dataclass(frozen=True, eq=False)
class Segmentations:
    """COCO's masks of N objects: polygons, or compressed run lengths of a size, or neither.

    Args:
        corners: float64 ``(2P,)`` x y of the corners of all polygons.
        polygons: int64 ``(Q + 1,)`` where each polygon begins in `corners`.
        objects: int64 ``(N + 1,)`` where each object begins in `polygons`.
        masks: the run lengths; size 0 for objects without.
    """

    corners: np.ndarray
    polygons: np.ndarray
    objects: np.ndarray
    masks: Masks

    @property
    def has_polygons(self) -> np.ndarray:
        """bool ``(N,)``."""
        return np.diff(self.objects) > 0

    @property
    def has_run_lengths(self) -> np.ndarray:
        """bool ``(N,)``."""
        return np.diff(self.masks.offsets) > 0

    def filled(self, sizes: np.ndarray) -> Masks:
        """The masks in images of given sizes.

        Args:
            sizes: int64 ``(N, 2)`` height and width in pixels.

        Raises:
            RuntimeError: a mask is malformed.
        """
        arrays = (self.corners, self.polygons, self.objects, self.masks.strings, self.masks.offsets, sizes)
        characters, offsets = fill_masks(*map(torch.from_numpy, arrays))
        return Masks(characters.numpy(), offsets.numpy(), sizes)


Column = Keys | np.ndarray | Ragged | Segmentations

ColumnT = TypeVar("ColumnT", Keys, np.ndarray, Ragged, Segmentations)


class Columns(dict[str, Column]):
    """The columns of one list by key; each is read as what its kind gives."""

    def keys_of(self, name: str) -> Keys:
        """A column of the kind ``key``."""
        return _as(Keys, self[name])

    def numbers(self, name: str) -> np.ndarray:
        """A column of the kind ``number`` or ``flag``, float64 ``(N,)``."""
        return _as(np.ndarray, self[name])

    def rows(self, name: str) -> Ragged:
        """A column of the kind ``numbers``."""
        return _as(Ragged, self[name])

    def masks(self, name: str) -> Segmentations:
        """A column of the kind ``mask``."""
        return _as(Segmentations, self[name])


def _as(kind: type[ColumnT], column: Column) -> ColumnT:
    if not isinstance(column, kind):
        raise TypeError(f"the column is a {type(column).__name__}, not a {kind.__name__}")
    return column


def read_json_columns(path: Path, lists: Mapping[str, Mapping[str, Kind]]) -> dict[str, Columns] | None:
    """Read the columns of lists in a JSON file.

    Args:
        path: the file.
        lists: the kind of each key to read, by the name of the list in the outermost object, ``""`` where the file
            itself is a list. A ``key`` is a number or string that each object has, read as `Keys`; a ``number``
            becomes an array, NaN where it is absent, and so does a ``flag``, a number or truth value; ``numbers`` are
            `Ragged`; a ``mask`` is `Segmentations`.

    Returns:
        The columns by list; None where the file cannot be read like this: it is missing, is not JSON, lacks a list or
        key, or holds other values.
    """
    names = [(name, key, kind) for name, columns in lists.items() for key, kind in columns.items()]
    try:
        text = np.fromfile(path, dtype=np.uint8)
        tensors = coco.read_json_columns(torch.from_numpy(text), *zip(*names, strict=True))
    except (OSError, RuntimeError):
        return None
    if tensors is None:
        return None
    parts = iter(tensor.numpy() for tensor in tensors)
    result = {name: Columns() for name in lists}
    try:
        for name, key, kind in names:
            result[name][key] = _COLUMN[kind](text, *(next(parts) for _ in range(_PARTS[kind])))
    except ValueError:  # a number of more digits than Python reads
        return None
    return result


def present_columns(path: Path, columns: Mapping[str, Kind]) -> dict[str, Kind]:
    """Those of the columns whose keys occur anywhere in a file."""
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as text:
            return {key: kind for key, kind in columns.items() if text.find(f'"{key}"'.encode()) >= 0}
    except (OSError, ValueError):  # it is missing or empty
        return {}


def _keys(text: np.ndarray, index: np.ndarray, spans: np.ndarray) -> Keys:
    view = memoryview(text.data)
    return Keys(index, json.loads(b"[%b]" % b",".join([view[begin:end] for begin, end in spans.tolist()])))


def _segmentations(
    _text: np.ndarray,
    corners: np.ndarray,
    polygons: np.ndarray,
    objects: np.ndarray,
    characters: np.ndarray,
    strings: np.ndarray,
    sizes: np.ndarray,
) -> Segmentations:
    return Segmentations(corners, polygons, objects, Masks(characters, strings, sizes))


_COLUMN: dict[Kind, Callable[..., Column]] = {
    "key": _keys,
    "number": lambda _text, values: values,
    "flag": lambda _text, values: values,
    "numbers": lambda _text, values, offsets: Ragged(values, offsets),
    "mask": _segmentations,
}
_PARTS: dict[Kind, int] = {"key": 2, "number": 1, "flag": 1, "numbers": 2, "mask": 6}
