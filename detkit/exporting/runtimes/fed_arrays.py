"""Inputs and weights as runtimes take and have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.exporting.runtimes.exported_file import Precision


def as_arrays(inputs: Mapping[str, np.ndarray | Tensor], names: Sequence[str], path: Path) -> dict[str, np.ndarray]:
    """The inputs of these names as arrays, in their order.

    Raises:
        InputError: one is missing.
    """
    missing = [name for name in names if name not in inputs]
    if missing:
        raise InputError(f"{path} takes {', '.join(names)}, but {' and '.join(missing)} is not given.")
    values = ((name, inputs[name]) for name in names)
    return {
        name: value.detach().cpu().numpy() if isinstance(value, Tensor) else np.asarray(value) for name, value in values
    }


def precision_of(weights: Iterable[Tensor]) -> Precision:
    """The precision of most numbers among floating-point weights."""
    counts = {torch.float16: 0, torch.float32: 0}
    for one in weights:
        if one.dtype in counts:
            counts[one.dtype] += one.numel()
    return "float16" if counts[torch.float16] > counts[torch.float32] else "float32"
