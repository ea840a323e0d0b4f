"""What of `torch.cuda` is asked of a device apart from tensors: events, and the state of its random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from detkit.testing.imitation.waits import wait


class ImitatedEvent:
    """A `torch.cuda.Event` of a device that has always finished."""

    def __init__(self, **options: Any) -> None:
        self.is_recorded = False

    def record(self, stream: Any = None) -> None:
        """Note that it is recorded."""
        self.is_recorded = True

    def query(self) -> bool:
        """Whether all work before it is done."""
        return True

    def synchronize(self) -> None:
        """Count the wait."""
        wait("event")


@contextmanager
def imitated_runtime() -> Iterator[None]:
    """Replace in `torch.cuda` what needs a GPU; its random numbers are those of the CPU."""
    replaced = {
        "Event": ImitatedEvent,
        "synchronize": lambda device=None: wait("synchronize"),
        "get_rng_state": lambda device="cuda": torch.get_rng_state(),
        "set_rng_state": _set_rng_state,
    }
    with ExitStack() as stack:
        for name, imitation in replaced.items():
            stack.enter_context(patch.object(torch.cuda, name, imitation))
        yield


def _set_rng_state(new_state: Tensor, device: Any = "cuda") -> None:
    torch.set_rng_state(new_state)
