"""What processes that train or evaluate together tell each other; each function also works in a process alone."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as distributed
from torch import Tensor


def is_distributed() -> bool:
    """Whether this process works together with others."""
    return distributed.is_available() and distributed.is_initialized()


def gather(value: Any) -> list[Any]:
    """`value` of every process, in the order of ranks."""
    if not is_distributed():
        return [value]
    values: list[Any] = [None] * distributed.get_world_size()
    distributed.all_gather_object(values, value)
    return values


def broadcast(value: Any) -> Any:
    """The `value` of the first process, in all."""
    values = [value]
    if is_distributed():
        distributed.broadcast_object_list(values)
    return values[0]


def mean(value: Tensor) -> Tensor:
    """The mean of `value` over the processes, detached; without others it is `value` itself, detached.

    Args:
        value: a floating tensor of the same shape on every process.
    """
    value = value.detach()
    if not is_distributed():
        return value
    total = value.clone()
    distributed.all_reduce(total, distributed.ReduceOp.SUM)
    return total / distributed.get_world_size()


def mean_count(count: Tensor | float, device: torch.device | str | None = None) -> Tensor:
    """What a loss is divided by that is a sum over `count` things: its mean over the processes, at least 1.

    Gradients are averaged over processes; with the mean count as divisor, each thing then weighs the same whichever
    process it is on. The device is not waited for. A process alone communicates nothing, and none does where gradients
    are off: in validation processes do not have as many batches, and one would wait for ever.

    Args:
        count: how many there are on this process: a number, or a scalar tensor of any type.
        device: where a number goes; of a tensor its own device counts.

    Returns:
        A scalar float32 tensor.
    """
    if isinstance(count, Tensor):
        counted = count.detach().float()
    else:
        counted = torch.full((), float(count), dtype=torch.float32, device=device)
    return (mean(counted) if torch.is_grad_enabled() else counted).clamp(min=1.0)
