"""A bound of what building a recorded model may allocate, which its own weights give."""

from __future__ import annotations

import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.module import register_module_parameter_registration_hook

from detkit.errors import InputError

_SPARE_NUMBERS = 300_000_000
_SPARE_TENSORS = 20_000
"""What constructors make and leave out of the model, such as the classifier of a whole VGG."""


@contextmanager
def bounded_by(weights: Collection[Tensor], name: str) -> Iterator[None]:
    """Refuse to build far more parameters than `weights` within it, before they are initialized.

    Args:
        weights: of the model.
        name: of their file, for messages.

    Raises:
        InputError: a module registers a parameter beyond the bound.
    """
    most_numbers = 2 * sum(value.numel() for value in weights) + _SPARE_NUMBERS
    most_tensors = 2 * len(weights) + _SPARE_TENSORS
    numbers, tensors, thread = 0, 0, threading.get_ident()

    def count(module: nn.Module, parameter: str, value: nn.Parameter | None) -> None:
        nonlocal numbers, tensors
        if value is None or value.is_meta or threading.get_ident() != thread:
            return
        numbers, tensors = numbers + value.numel(), tensors + 1
        if numbers > most_numbers or tensors > most_tensors:
            raise InputError(
                f"{name} describes a model of more parameters than it has weights for: with the {parameter} of a "
                f"{type(module).__name__} there are {numbers} in {tensors} tensors."
            )

    handle = register_module_parameter_registration_hook(count)
    try:
        yield
    finally:
        handle.remove()
