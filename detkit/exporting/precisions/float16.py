"""Networks in float16: layers with weights in half, everything that overflows or loses pixels in it in float32.

Half has no number above 65504, and above 2048 no odd one. So normalization, which squares, stays in float32, and so do
anchors, decoding, scores and suppression.
"""

from __future__ import annotations

import copy
from typing import Any, TypeVar

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from detkit.errors import InputError
from detkit.models import VisionModel

NORMS = (
    nn.GroupNorm, nn.LayerNorm, nn.RMSNorm, nn.LocalResponseNorm, nn.modules.batchnorm._BatchNorm,
    nn.modules.instancenorm._InstanceNorm,
)  # fmt: skip
"""Layers that square their input, or hold variances."""

Module = TypeVar("Module", bound=nn.Module)


def in_float32(model: VisionModel) -> VisionModel:
    """`model`, or a copy of one in float16 with its weights in float32.

    Raises:
        InputError: it is in another precision.
    """
    dtype = next((parameter.dtype for parameter in model.parameters()), torch.float32)
    if dtype == torch.float32:
        return model
    if dtype != torch.float16:
        raise InputError(
            f"The {type(model).__name__} is in {str(dtype).removeprefix('torch.')}, which exported files do not have: "
            "export model.float(), with float16=True for half the size."
        )
    return copy.deepcopy(model).float()


def in_float16(network: Module) -> Module:
    """A copy of `network` with float16 weights, its normalization layers in float32."""
    halved = copy.deepcopy(network).half()
    for module in list(halved.modules()):
        for name, child in module.named_children():
            if isinstance(child, NORMS):
                setattr(module, name, _InFloat32(child.float()))
    return halved


class WithFloat32Ends(nn.Module):
    """A network in float16 that takes and gives float32.

    Args:
        network: takes one tensor.
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        """The outputs of the network in float32."""
        return as_float32(self.network(images.half()))


def as_float32(outputs: Any) -> Any:
    """The same tensors, those in float16 in float32."""
    return tree_map(lambda one: one.float() if one is not None and one.dtype == torch.float16 else one, outputs)


class _InFloat32(nn.Module):
    """A layer in float32 between layers in float16."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> Tensor:
        """The layer's output in the precision of `x`."""
        return self.layer(x.float()).to(x.dtype)  # type: ignore[no-any-return]  # of torch
