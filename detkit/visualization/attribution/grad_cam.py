"""Where a network looks for what it says: Grad-CAM (Selvaraju 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from detkit.errors import InputError
from detkit.visualization.attribution.named_layers import evaluating, recorded


def grad_cam(network: nn.Module, layer: str, score: Callable[[], Tensor], size: Sequence[int]) -> Tensor:
    """The parts of a layer's map that speak for a score.

    A channel's weight is the mean over the map of the score's gradient (equation 1); of the sum of the channels so
    weighted, what is positive is kept (equation 2).

    Args:
        network: any network.
        layer: the layer to look at, by name.
        score: runs `network` on one image and returns the score, a scalar: a class's before the softmax, as in the
            paper, or a detection's. What runs without gradients there, as a head's decoding does, has them here.
        size: (height, width) of the network's input.

    Returns:
        A map ``(H, W)`` of the layer's resolution, at least 0, not normalized.

    Raises:
        InputError: a layer that is not there or gives no map, or a score that does not depend on it.
    """
    with torch.enable_grad(), evaluating(network), recorded(network, [layer], size) as maps, _GradientsEverywhere():
        value = score()
    (output,) = maps.outputs()
    gradient = torch.autograd.grad(value, output, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise InputError(f"the score has no gradient at layer {layer!r}: name a layer on the way to it")
    weights = maps.as_map(gradient)[0].mean(dim=(1, 2), keepdim=True)
    return (weights * maps.as_map(output.detach())[0]).sum(dim=0).clamp(min=0)


class _GradientsEverywhere(TorchFunctionMode):
    """``torch.no_grad`` has no effect within: heads decode without gradients, which a detection's score must have."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, unless it turns gradients off or on."""
        if func is torch._C._set_grad_enabled:
            return None
        if func is Tensor.numpy:  # which refuses tensors with gradients
            args = (args[0].detach(), *args[1:])
        return func(*args, **(kwargs or {}))
