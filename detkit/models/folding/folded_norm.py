"""What stands in the place of a batch norm that is part of the convolution before it."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn


def without_norm(norm: Any) -> nn.Module:
    """What is left of `norm`: nothing, or timm's dropout and activation. Its attributes can be read.

    Its tensors are no part of the state, so that the weights are not taken for those of a model with batch norm.
    """
    left = object.__new__(_Activation if hasattr(norm, "act") and hasattr(norm, "drop") else _Nothing)
    tensors = {**norm._parameters, **norm._buffers}
    left.__dict__.update({**norm.__dict__, **tensors, "_parameters": {}, "_buffers": {}})
    return left


class _Nothing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x


class _Activation(nn.Module):
    act: nn.Module
    drop: nn.Module

    def forward(self, x: Tensor) -> Tensor:
        activated: Tensor = self.act(self.drop(x))
        return activated
