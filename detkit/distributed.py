"""Communication between processes: gather, broadcast, mean. Each function also works in a single process."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor


def is_distributed() -> bool:
    """Whether a process group is initialized."""
    return distributed.is_available() and distributed.is_initialized()


def gather(value: Any) -> list[Any]:
    """`value` of every process, by rank."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """The `value` of rank 0, in every process."""
    values = [value]
    if is_distributed():
        distributed.broadcast_object_list(values)
    return values[0]


def mean(value: Tensor) -> Tensor:
    """The mean of `value` over the processes, detached; in a single process `value` itself, detached.

    Args:
        value: a floating-point tensor of the same shape in every process.
    """
    value = value.detach()
    if not is_distributed():
        return value
    total = value.clone()
    distributed.all_reduce(total, distributed.ReduceOp.SUM)
    return total / distributed.get_world_size()


def mean_count(count: Tensor | float, device: torch.device | str | None = None) -> Tensor:
    """The normalizer of a loss that is a sum over `count` items: the mean count over the processes, at least 1.

    Gradients are averaged over processes; divided by the mean count, each item weighs the same on every process. It
    does not synchronize with the device. Processes communicate only if gradients are enabled: in validation they may
    have different numbers of batches, and one would wait forever.

    Args:
        count: the number of items in this process: a number, or a scalar tensor of any dtype.
        device: of the result if `count` is a number; a tensor keeps its device.

    Returns:
        A scalar float32 tensor.
    """
    if isinstance(count, Tensor):
        counted = count.detach().float()
    elif torch.is_grad_enabled() and is_distributed():
        counted = torch.full((), float(count), dtype=torch.float32, device=device)
    else:
        return torch.full((), max(1.0, float(count)), dtype=torch.float32, device=device)
    return (mean(counted) if torch.is_grad_enabled() else counted).clamp(min=1.0)
