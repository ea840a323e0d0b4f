"""Grad-CAM (Selvaraju et al., 2017)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from detkit.errors import InputError
from detkit.visualization.attribution.named_layers import eval_mode, record_layers


def grad_cam(network: nn.Module, layer: str, score: Callable[[], Tensor], size: Sequence[int]) -> Tensor:
    """The locations of a layer's map that raise a score.

    A channel's weight is the mean over the map of the score's gradient (equation 1); the map is the positive part of
    the weighted sum of the channels (equation 2).

    Args:
        network: any network.
        layer: its name in the network.
        score: runs `network` on one image and returns the score, a scalar: a class's before the softmax, as in the
            paper, or a detection's. Gradients are computed also where it turns them off, as a head's decoding does.
        size: (height, width) of the network's input.

    Returns:
        A map ``(H, W)`` of the layer's resolution, at least 0, not normalized.

    Raises:
        InputError: there is no such layer, it gives no map, or the score does not depend on it.
    """
    with torch.enable_grad(), eval_mode(network), record_layers(network, [layer], size) as maps, _GradientsEverywhere():
        value = score()
    (output,) = maps.outputs()
    gradient = torch.autograd.grad(value, output, allow_unused=True)[0] if value.requires_grad else None
    if gradient is None:
        raise InputError(f"the score has no gradient at layer {layer!r}: name a layer that it depends on")
    weights = maps.as_map(gradient)[0].mean(dim=(1, 2), keepdim=True)
    return (weights * maps.as_map(output.detach())[0]).sum(dim=0).clamp(min=0)


class _GradientsEverywhere(TorchFunctionMode):
    """Disables ``torch.no_grad``: heads decode without gradients, but a detection's score needs them."""

    def __torch_function__(
        self, func: Callable, types: Sequence[type], args: tuple = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Call `func`, unless it turns gradients off or on."""
        if func is torch._C._set_grad_enabled:
            return None
        if func is Tensor.numpy:  # which refuses tensors with gradients
            args = (args[0].detach(), *args[1:])
        return func(*args, **(kwargs or {}))
