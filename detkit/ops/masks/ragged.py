"""Rows of different lengths, packed end to end: values, and the offsets where each row begins."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor


def offsets_of(sizes: list[int]) -> Tensor:
    """int64 ``(N + 1,)``, where each of N rows of these sizes begins, and where the last one ends."""
    return torch.tensor([0, *sizes], dtype=torch.int64, device="cpu").cumsum(0)


def pack_rows(rows: list[Tensor]) -> tuple[Tensor, Tensor]:
    """int32 rows end to end, and their offsets."""
    values = torch.cat([torch.zeros(0, dtype=torch.int32, device="cpu"), *rows])
    return values, offsets_of([len(row) for row in rows])


def unpack_rows(values: Tensor, offsets: Tensor) -> list[Tensor]:
    """The rows that are packed in `values`."""
    return [values[begin:end] for begin, end in pairwise(offsets.tolist())]


def rows_on_cpu(values: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor]:
    """int32 rows end to end and their offsets, from a GPU in one copy."""
    if values.device.type == "cpu":
        return values, offsets
    packed = torch.cat([offsets.view(torch.int32), values]).cpu()
    first = 2 * len(offsets)
    return packed[first:], packed[:first].view(torch.int64)


def fake_rows(like: Tensor, count: int | torch.SymInt, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """For fake kernels: values of unknown number, and the offsets of `count` rows."""
    size = torch.library.get_ctx().new_dynamic_size()
    return like.new_empty(size, dtype=dtype), like.new_empty(count + 1, dtype=torch.int64)
