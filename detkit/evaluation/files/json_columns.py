"""Lists of objects in a JSON file as arrays, read by native code without a Python object for every entry."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from detkit.evaluation.packed_objects import Masks, Ragged
from detkit.ops import coco
from detkit.ops.coco import fill_masks

Kind = Literal["key", "number", "numbers", "mask"]


@dataclass(frozen=True, eq=False)
class Keys:
    """Numbers or strings that many of N objects share.

    Args:
        index: int64 ``(N,)`` of each object the position in `values`.
        values: D numbers and strings.
    """

    index: np.ndarray
    values: list[Any]

    def __len__(self) -> int:
        return len(self.index)

    def as_list(self) -> list[Any]:
        """The N values."""
        return [self.values[position] for position in self.index.tolist()]

    def positions(self, known: Mapping[Any, int]) -> np.ndarray:
        """int64 ``(N,)`` what is known of each value; -1 for the unknown ones."""
        return np.array([known.get(value, -1) for value in self.values], dtype=np.int64)[self.index]


@dataclass(frozen=True, eq=False)
class Segmentations:
    """COCO's masks of N objects: polygons, or compressed run lengths of a size, or neither.

    Args:
        corners: float64 ``(2P,)`` x y of each corner of all polygons.
        polygons: int64 ``(Q + 1,)`` where each polygon begins among the corners.
        objects: int64 ``(N + 1,)`` where those of each object begin among the polygons.
        masks: the run lengths; of size 0 where there are none.
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
        """The masks in images of `sizes`, int64 ``(N, 2)`` height and width; a RuntimeError where one is none."""
        arrays = (self.corners, self.polygons, self.objects, self.masks.strings, self.masks.offsets, sizes)
        characters, offsets = fill_masks(*map(torch.from_numpy, arrays))
        return Masks(characters.numpy(), offsets.numpy(), sizes)


Column = Keys | np.ndarray | Ragged | Segmentations


def read_json_columns(path: Path, lists: Mapping[str, Mapping[str, Kind]]) -> dict[str, dict[str, Column]] | None:
    """The columns of lists in a JSON file.

    Args:
        path: the file.
        lists: by the name of a list in the outermost object, or ``""`` where the file is a list: what the keys of its
            objects hold. A ``key`` is a number or string that each object has, given as `Keys`; a ``number`` or truth
            an array, NaN where there is none; ``numbers`` are `Ragged`; a ``mask`` is `Segmentations`.

    Returns:
        By list and key; None where the file cannot be read so: it is not there, is not JSON, lacks a list or key, or
        holds something else.
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
    result: dict[str, dict[str, Column]] = {name: {} for name in lists}
    for name, key, kind in names:
        result[name][key] = _COLUMN[kind](text, *(next(parts) for _ in range(_PARTS[kind])))
    return result


def _keys(text: np.ndarray, index: np.ndarray, places: np.ndarray) -> Keys:
    written = (text[begin:end].tobytes() for begin, end in places.tolist())
    return Keys(index, json.loads(b"[" + b",".join(written) + b"]"))


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


_COLUMN = {
    "key": _keys,
    "number": lambda _text, values: values,
    "numbers": lambda _text, values, offsets: Ragged(values, offsets),
    "mask": _segmentations,
}
_PARTS = {"key": 2, "number": 1, "numbers": 2, "mask": 6}
