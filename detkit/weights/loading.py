"""Filling a model with all the tensors of a state dict."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor, nn

from detkit.errors import InputError


def load_all(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load `state_dict` into `model`, every tensor of which must be there and nothing else.

    Raises:
        InputError: tensors are missing, unknown or of another shape; the message begins with `source` and names them.
    """
    try:
        model.load_state_dict(state_dict)
    except RuntimeError as error:
        raise InputError(f"the state dict does not fit {source}: {error}") from error


def counts_batches(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether batch norm is trained: frozen batch norm does not count its batches."""
    return any(name.endswith("num_batches_tracked") for name in state_dict)
