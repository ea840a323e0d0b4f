"""Helpers that take numpy arrays and tensors alike."""

from __future__ import annotations

from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

Array = TypeVar("Array", np.ndarray, Tensor)


def reverse_last(values: Array) -> Array:
    """`values` in reverse order along the last axis."""
    return values.flip(-1) if isinstance(values, Tensor) else values[..., ::-1]


def stack_last(parts: list[Array]) -> Array:
    """Arrays of one shape, stacked along a new last axis."""
    if isinstance(parts[0], Tensor):
        return torch.stack(parts, dim=-1)
    return np.concatenate([part[..., None] for part in parts], axis=-1)  # np.stack takes twice as long
