"""Stopping a training at a loss that is not finite."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.distributed as distributed
from torch import Tensor

from detkit.distributed import is_distributed
from detkit.errors import InputError


class FiniteCheck:
    """Stops training at a loss that is not finite; the CPU does not wait for the GPU at each step.

    On the CPU the step itself fails, before it changes a weight. On a GPU each step's flags are copied to the host
    asynchronously, and read when they have arrived, a few steps later. Before a checkpoint is written all of them are
    waited for, so a file never holds weights that a bad step has changed.
    """

    def __init__(self) -> None:
        self.pending: deque[_Flags] = deque()

    def watch(self, losses: Mapping[str, Tensor], image_ids: Sequence[Any], step: int) -> None:
        """Record the losses of one step, and fail if one that has arrived by now was not finite.

        Raises:
            InputError: it names the losses, the step and the image ids.
        """
        finite = torch.stack([value.detach() for value in losses.values()]).isfinite().float()
        everywhere = finite.min(dim=0, keepdim=True).values
        if is_distributed():
            distributed.all_reduce(everywhere, distributed.ReduceOp.MIN)
        finite = torch.cat((finite, everywhere))
        event = None
        if finite.is_cuda:
            finite = finite.to("cpu", non_blocking=True)
            event = torch.cuda.Event()
            event.record()
        self.pending.append(_Flags(finite, event, list(losses), list(image_ids), step))
        while self.pending and self.pending[0].arrived():
            self.pending.popleft().check()

    def settle(self) -> None:
        """Wait for all flags and check them."""
        while self.pending:
            flags = self.pending.popleft()
            if flags.event is not None:
                flags.event.synchronize()
            flags.check()


class _Flags(NamedTuple):
    """Whether each loss of a step is finite, and whether all of all processes are; on the host once `event` is done."""

    finite: Tensor
    event: torch.cuda.Event | None
    names: list[str]
    image_ids: list[Any]
    step: int

    def arrived(self) -> bool:
        return self.event is None or self.event.query()

    def check(self) -> None:
        *finite, everywhere = self.finite.tolist()
        bad = [name for name, value in zip(self.names, finite, strict=True) if not value]
        if not bad and not everywhere:
            raise InputError(f"A loss is not finite at step {self.step} in another process, which names it.")
        if bad:
            raise InputError(
                f"Loss {', '.join(bad)} is not finite at step {self.step}, in the batch with the images "
                f"{', '.join(map(repr, self.image_ids))}: look at these, lower the learning rate or clip gradients; "
                f"the last checkpoint is from before."
            )
