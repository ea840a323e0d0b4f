"""Rows of several objects in one tensor, one object after the other: the object of each row."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def object_index(counts: Tensor, length: int) -> Tensor:
    """The object of each packed row, ``(length,)`` int64: ``[2, 0, 1]`` gives ``[0, 0, 2]``.

    Args:
        counts: ``(N,)`` int64, the rows of each object.
        length: the sum of `counts`, for which a device would have to be waited for.
    """
    return torch.repeat_interleave(counts, output_size=length)


def members(counts: Tensor, block: int) -> Iterator[tuple[Tensor, Tensor]]:
    """The members of groups of these sizes, at most `block` at once: the group of each, and its number within it.

    Waits for the device, to learn how many there are.
    """
    ends = counts.cumsum(0)
    starts = ends - counts
    total = int(ends[-1]) if len(ends) else 0
    for begin in range(0, total, block):
        end = min(begin + block, total)
        within = ends.clamp(begin, end) - starts.clamp(begin, end)
        group = torch.repeat_interleave(within, output_size=end - begin)
        yield group, torch.arange(begin, end, device=counts.device) - starts[group]
