"""A model that torchvision builds, with exported weights."""

from __future__ import annotations

from collections.abc import Mapping
from types import ModuleType
from typing import Any

from torch import Tensor, nn

from detkit.backbones.frozen_batch_norm import set_batch_norm_epsilon


def built(
    models: ModuleType,
    name: str,
    arguments: Mapping[str, Any],
    state_dict: Mapping[str, Tensor],
    batch_norm_epsilon: float | None,
) -> nn.Module:
    """``getattr(models, name)(**arguments)`` with these weights, in evaluation mode.

    Args:
        models: ``torchvision.models.detection`` or ``torchvision.models.segmentation``.
        name: of the function in it.
        arguments: of that function.
        state_dict: the weights.
        batch_norm_epsilon: of every batch norm, which no argument sets; None: torchvision's own.
    """
    model: nn.Module = getattr(models, name)(**arguments)
    if batch_norm_epsilon is not None:
        set_batch_norm_epsilon(model, batch_norm_epsilon)
    model.load_state_dict(state_dict)
    return model.eval()
