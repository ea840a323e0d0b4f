"""The weights of a convolution that also does what the batch norm after it does."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from detkit.backbones.frozen_batch_norm import ScaleAndShift, scale_and_shift
from detkit.models.folding.norm_pairs import Convolution

Weights = dict[str, Tensor | None]


def fold_weights(convolution: Convolution, norm: nn.Module | None) -> Weights:
    """The parameters of `convolution` with `norm` folded into them, in the layout in which they are fastest.

    Arithmetic is in float32 at least. Without anything to change they are its own.
    """
    weight, bias = convolution.weight, convolution.bias
    if norm is not None:
        weight, bias = (nn.Parameter(tensor, requires_grad=False) for tensor in _folded(convolution, norm))
    if weight.device.type == "cpu":
        nhwc = weight.contiguous(memory_format=torch.channels_last)
        weight = weight if nhwc is weight else nn.Parameter(nhwc, requires_grad=False)
    return {"weight": weight, "bias": bias}


def dependencies(convolution: Convolution, norm: nn.Module | None) -> list[Tensor]:
    """The tensors that `fold_weights` reads."""
    layers = [convolution] if norm is None else [convolution, norm]
    tensors = [tensor for layer in layers for tensor in (*layer._parameters.values(), *layer._buffers.values())]
    return [tensor for tensor in tensors if tensor is not None and tensor.is_floating_point()]


def _folded(convolution: Convolution, norm: nn.Module) -> tuple[Tensor, Tensor]:
    """The new weight and bias."""
    weight, bias = convolution.weight.detach(), convolution.bias
    scale, shift = norm.scale_and_shift() if isinstance(norm, ScaleAndShift) else scale_and_shift(norm)
    exact = torch.promote_types(weight.dtype, torch.float32)
    scale, shift = scale.detach().to(exact), shift.detach().to(exact)
    if bias is not None:
        shift = shift + bias.detach().to(exact) * scale
    if isinstance(convolution, nn.ConvTranspose2d):
        # (in, out / groups, height, width): the channels of each group lie in the second dimension.
        groups = convolution.groups
        factors = scale.view(groups, 1, -1, 1, 1)
        product = (torch.unflatten(weight.to(exact), 0, (groups, -1)) * factors).flatten(0, 1)
    else:
        product = weight.to(exact) * scale[:, None, None, None]
    return product.to(weight.dtype), shift.to(weight.dtype)
