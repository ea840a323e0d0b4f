"""Layer-wise adaptive rate scaling (LARS), an optimizer for batches of many thousand images."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from detkit.errors import InputError


class LARS(Optimizer):
    """SGD with momentum, in which each layer's step is in proportion to its weights (You 2017, algorithm 1).

    timm's `Lars` is another algorithm: its momentum does not take in the learning rate, so steps differ under a
    schedule, and it adapts biases and normalization, or without weight decay nothing.

    A layer with the weights ``w`` and the gradient ``g`` has the local rate ``eta * |w| / (|g| + weight_decay * |w|)``
    (equation 6, with weight decay); the momentum adds the learning rate times the local rate times
    ``g + weight_decay * w``, and is subtracted from the weights. Where ``w`` or ``g`` is zero the local rate is 1, else
    a layer that starts at zero would stay there. One-dimensional parameters (biases, normalization) use the learning
    rate itself, without decay.

    Args:
        params: parameters, or groups of them.
        lr: the global learning rate; much larger than SGD's, since it is multiplied by `trust_coefficient`.
        momentum: share of the last step in the next one.
        weight_decay: of layers with more than one dimension.
        trust_coefficient: ``eta``, the size of a layer's step relative to its weights.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        params: Iterable[Any],
        lr: float,
        momentum: float = 0.9,
        weight_decay: float = 0.0,
        trust_coefficient: float = 0.001,
    ) -> None:
        values = {"lr": lr, "momentum": momentum, "weight_decay": weight_decay, "trust_coefficient": trust_coefficient}
        for name, value in values.items():
            if value < 0:
                raise InputError(f"LARS: {name} must not be negative, got {value}")
        super().__init__(params, values)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; `closure`, if given, computes the loss that is returned."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            parameters = [parameter for parameter in group["params"] if parameter.grad is not None]
            layers = [parameter for parameter in parameters if parameter.ndim > 1]
            others = [parameter for parameter in parameters if parameter.ndim <= 1]
            if layers:
                self._move(layers, _adapted(layers, group["weight_decay"], group["trust_coefficient"]), group)
            if others:
                self._move(others, _gradients(others), group)
        return loss

    def _move(self, parameters: list[Tensor], updates: list[Tensor], group: dict[str, Any]) -> None:
        """Add the updates to the momentum, and subtract the momentum from the parameters."""
        momenta = []
        for parameter in parameters:
            state = self.state[parameter]
            if not state:
                state["momentum_buffer"] = torch.zeros_like(parameter)
            momenta.append(state["momentum_buffer"])
        torch._foreach_mul_(momenta, group["momentum"])
        torch._foreach_add_(momenta, updates, alpha=group["lr"])
        torch._foreach_sub_(parameters, momenta)


def _adapted(layers: list[Tensor], weight_decay: float, trust_coefficient: float) -> list[Tensor]:
    """The decayed gradients of layers times their local rates; the CPU does not wait for a GPU."""
    gradients = _gradients(layers)
    weight_norms, gradient_norms = (torch.stack(torch._foreach_norm(tensors)) for tensors in (layers, gradients))
    rates = trust_coefficient * weight_norms / (gradient_norms + weight_decay * weight_norms)
    rates = rates.where((weight_norms > 0) & (gradient_norms > 0), 1.0)
    decayed = torch._foreach_add(gradients, layers, alpha=weight_decay)
    return list(torch._foreach_mul(decayed, list(rates.unbind())))


def _gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
