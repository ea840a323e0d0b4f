"""Whether the tensors that weights were computed from are still as they were."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

_RUN = 16  # neighbors that are looked at together, at least: a cache line of float32


@dataclass(frozen=True)
class Snapshot:
    """Tensors as they were when it was made.

    torch counts the changes of a tensor, but not those through ``.data``, NumPy or DLPack. Therefore values are
    compared too: all of tensors of one dimension and of those with short rows, and of others `samples`. All values of
    a large network would take longer to read than 1 % of a prediction.

    Args:
        marks: address, version and type of each tensor.
        views: of the values that are compared; they keep the memory, so that no other tensor gets the same address.
        values: of the views, for each device.
    """

    marks: list[tuple[Any, ...]]
    views: list[Tensor]
    values: list[Tensor]

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Snapshot | None:
        """That of `tensors`; None if one was made in inference mode, where torch counts no changes."""
        if any(tensor.is_inference() for tensor in tensors):
            return None
        views = [samples(tensor.detach()) for tensor in tensors]
        return cls(_marks(tensors), views, _values(views))

    def is_of(self, tensors: Sequence[Tensor]) -> bool:
        """Whether `tensors` are the same and have not changed; waits for their device."""
        if any(tensor.is_inference() for tensor in tensors) or self.marks != _marks(tensors):
            return False
        return all(torch.equal(old, new) for old, new in zip(self.values, _values(self.views), strict=True))


def samples(tensor: Tensor) -> Tensor:
    """A view of `tensor`: all of it where it has short rows or gaps, otherwise runs of neighbors.

    The runs touch each row and each column of ``tensor.flatten(1)``, so that an edit of a filter, of an input channel
    or of many values is seen.
    """
    dense = tensor.is_contiguous() or (tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last))
    if tensor.ndim < 2 or not dense:
        return tensor
    rows, row = len(tensor), tensor[:1].numel()
    run = max(_RUN, math.ceil(row / rows))
    if row <= 2 * run:
        return tensor
    step = row - run  # the runs move to the left from row to row
    return tensor.as_strided(((tensor.numel() - run) // step + 1, run), (step, 1))


def _marks(tensors: Sequence[Tensor]) -> list[tuple[Any, ...]]:
    return [(tensor.data_ptr(), tensor._version, tensor.dtype) for tensor in tensors]


def _values(views: Sequence[Tensor]) -> list[Tensor]:
    devices = dict.fromkeys(view.device for view in views)
    return [
        torch.cat([view if view.ndim == 1 else view.flatten() for view in views if view.device == device])
        for device in devices
    ]
