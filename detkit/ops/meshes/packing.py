"""Rows of several objects in one tensor, one object after the other: whose each row is."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor


def owner_of(length: int, counts: Tensor) -> Tensor:
    """The object of each of `length` packed rows, which `counts` sum to: ``(length,)`` int64."""
    return torch.searchsorted(counts.cumsum(0), torch.arange(length, device=counts.device), right=True)


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
