"""Rows of groups of different sizes, packed one group after the other: the vertices, faces or points of objects."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.structures.device_transfer import to_device

ObjectIndex = int | slice | Sequence[int] | Tensor
"""Chooses objects: by number, slice, ``(M,)`` mask or numbers."""


def starts(counts: Tensor) -> Tensor:
    """``(M,)``, where each of the groups of these sizes begins when they lie one after the other."""
    return counts.cumsum(0) - counts


def host_object_index(counts: Tensor) -> Tensor:
    """The object of each packed row, int64, for `counts` ``(M,)`` on the CPU; see `detkit.ops.meshes.packing`."""
    return torch.from_numpy(np.arange(len(counts)).repeat(counts.numpy()))


def chosen_objects(index: ObjectIndex, count: int) -> Tensor:
    """The numbers of the chosen ones of `count` objects, int64 on the CPU.

    Raises:
        IndexError: there is no such object, or a mask has another length.
    """
    numbers = torch.arange(count)
    if isinstance(index, slice):
        return torch.tensor(range(count)[index], dtype=torch.int64)
    if isinstance(index, Tensor):
        return numbers[index.cpu()].reshape(-1)
    if isinstance(index, Sequence):  # of no member it has no dtype
        return numbers[torch.tensor(index)] if index else numbers[:0]
    return numbers[index].reshape(1)


def chosen_rows(packed: Tensor, counts: Tensor, objects: Tensor) -> Tensor:
    """The rows of `objects`, one object after the other, out of those of all, of which each has `counts`."""
    own = counts[objects]
    index = host_object_index(own)
    rows = (starts(counts)[objects] - starts(own))[index] + torch.arange(len(index))
    return packed[to_device(rows, packed.device)]


def first_row(wrong: Tensor, counts: Tensor) -> tuple[int, int]:
    """The object of the first row that is wrong, and the row's number within it."""
    row = int(wrong.nonzero()[0])
    number = int(torch.searchsorted(counts.cumsum(0), row, right=True))
    return number, row - int(starts(counts)[number])


def part_bounds(counts: Tensor, parts: Sequence[int]) -> np.ndarray:
    """``(len(parts) + 1,)``, the row where each of some consecutive parts begins, then where the last one ends.

    Args:
        counts: ``(M,)``, the rows of each object.
        parts: the number of objects of each part.
    """
    bounds = np.concatenate(([0], np.cumsum(counts.numpy())))
    chosen: np.ndarray = bounds[np.cumsum([0, *parts])]
    return chosen
