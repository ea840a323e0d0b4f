"""Loading a state dict whose tensors have other names than those of the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from detkit.backbones.finite_weights import warn_unless_finite
from detkit.errors import InputError

Renames = Sequence[tuple[str, str | Callable[[re.Match[str]], str]]]


def rename_prefix(name: str, renames: Renames) -> str:
    """`name` with its beginning replaced by the first of `renames`, (pattern, replacement), that matches."""
    for pattern, replacement in renames:
        name, count = re.subn(f"^{pattern}", replacement, name)
        if count:
            break
    return name


def checked_tensors(state_dict: Mapping[str, Any], source: str) -> dict[str, Tensor]:
    """The tensors of `state_dict`, arrays made tensors; warns of those that are not finite.

    Raises:
        InputError: it is no mapping of names to tensors with numbers, or the weight or bias of a layer has no dimension
            or no values; the message names it.
    """
    if not isinstance(state_dict, Mapping):
        raise InputError(f"the state dict of {source} must map names to tensors, got a {type(state_dict).__name__}")
    tensors = {}
    for name, value in state_dict.items():
        tensor = torch.as_tensor(value) if isinstance(value, np.ndarray) and value.dtype.kind in "fiub" else value
        if not isinstance(name, str) or not isinstance(tensor, Tensor):
            raise InputError(f"the state dict of {source}: {name!r} is a {type(value).__name__} and no tensor")
        if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
            raise InputError(f"the state dict of {source}: {name} is no plain tensor with values")
        if name.endswith(("weight", "bias")) and (tensor.ndim == 0 or tensor.numel() == 0):
            raise InputError(f"the state dict of {source}: {name} has the shape {tuple(tensor.shape)}")
        tensors[name] = tensor
    warn_unless_finite(tensors, f"the state dict of {source}")
    return tensors


def check_has(tensors: Mapping[str, Any], names: Iterable[str], otherwise: str) -> None:
    """Raise InputError unless each of `names` is in `tensors`; it says what these are `otherwise`."""
    for name in names:
        if name not in tensors:
            raise InputError(f"no {name} in the state dict: it is {otherwise}")


def load_all(
    model: nn.Module, state_dict: Mapping[str, Tensor], source: str, name_in_source: Callable[[str], str] = str
) -> None:
    """Load `state_dict` into `model`; it must have exactly the tensors of the model.

    Args:
        model: to load into.
        state_dict: the tensors.
        source: of the tensors, for messages.
        name_in_source: from a name in the model to that in `state_dict`.

    Raises:
        InputError: tensors are missing, unknown or of another shape; the message names them as `state_dict` does.
    """
    own = model.state_dict()
    names = {name: name_in_source(name) for name in own}
    # Older files lack the counters, which only running averages without momentum read.
    missing = [name for name in names.values() if name not in state_dict and not name.endswith("num_batches_tracked")]
    known = {name: tensor for name, tensor in own.items() if names[name] in state_dict}
    problems = {
        "lacks": missing,
        "has in excess": sorted(state_dict.keys() - names.values()),
        "has in another shape": [
            f"{names[name]} {tuple(state_dict[names[name]].shape)} instead of {tuple(tensor.shape)}"
            for name, tensor in known.items()
            if state_dict[names[name]].shape != tensor.shape
        ],
    }
    reasons = [f"it {verb} {_listed(names)}" for verb, names in problems.items() if names]
    if reasons:
        raise InputError(f"the state dict does not fit {source}: {'; '.join(reasons)}")
    model.load_state_dict({name: state_dict[names[name]] for name in known}, strict=False)


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def counts_batches(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether the state dict is of trainable batch norm: frozen batch norm does not count its batches."""
    return any(name.endswith("num_batches_tracked") for name in state_dict)
