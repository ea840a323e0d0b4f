"""Filling a model with all the tensors of a state dict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torchvision.ops import FrozenBatchNorm2d

from detkit.errors import InputError


def load_all(model: nn.Module, state_dict: Mapping[str, Tensor], source: str) -> None:
    """Load `state_dict` into `model`, every tensor of which must be there and nothing else.

    Raises:
        InputError: tensors are missing, unknown or of another shape; the message begins with `source` and names them.
    """
    own = model.state_dict()
    reshaped = [
        f"{name} {tuple(tensor.shape)} instead of {tuple(own[name].shape)}"
        for name, tensor in state_dict.items()
        if name in own and tensor.shape != own[name].shape
    ]
    # Counters that older files lack, and that only a running average without momentum reads.
    missing = [name for name in own if name not in state_dict and not name.endswith("num_batches_tracked")]
    problems = {
        "lacks": missing,
        "has in excess": [name for name in state_dict if name not in own],
        "has in another shape": reshaped,
    }
    found = [f"it {verb} {_listed(names)}" for verb, names in problems.items() if names]
    if found:
        raise InputError(f"the state dict does not fit {source}: {'; '.join(found)}")
    model.load_state_dict(state_dict, strict=False)


def _listed(names: Sequence[str], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def counts_batches(state_dict: Mapping[str, Tensor]) -> bool:
    """Whether batch norm is trained: frozen batch norm does not count its batches."""
    return any(name.endswith("num_batches_tracked") for name in state_dict)


def set_batch_norm_epsilon(model: nn.Module, epsilon: float) -> None:
    """Set the small constant beside the variance in every batch norm of `model`, frozen or not."""
    for module in model.modules():
        if isinstance(module, (nn.BatchNorm2d, FrozenBatchNorm2d)):
            module.eps = epsilon
