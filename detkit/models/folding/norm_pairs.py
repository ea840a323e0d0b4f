"""Which batch norm alone takes the output of which convolution: found by running the layers on a tiny black image.

Names and the order of layers do not tell: a map may be used before and after its batch norm. What is seen are the steps
for that image, from which a layer that decides by the size or the values of its input may depart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import torch
from timm.layers import BatchNormAct2d, FrozenBatchNormAct2d
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torchvision.ops import FrozenBatchNorm2d

from detkit.backbones.frozen_batch_norm import ScaleAndShift
from detkit.heads.raw_outputs import tensors_in
from detkit.models.folding.module_copies import shallow_copy, stays, with_replaced

Convolution = nn.Conv2d | nn.ConvTranspose2d
Pair = tuple[Convolution, nn.Module]

_IMAGE_SIDE, _MAP_SIDE = 64, 16
# The layers whose `forward` is that of one of these normalize by the common formula.
_NORMS = (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d, BatchNormAct2d, FrozenBatchNormAct2d)
_FORWARDS = {kind.forward for kind in _NORMS}


def norm_pairs(model: nn.Module) -> list[Pair]:
    """Each convolution of `model` whose output goes into one batch norm only, and that batch norm.

    Layers that cannot be run alone are left out, and so are those that are used in several ways.
    """
    layers = [module for module in model.modules() if is_convolution(module) or is_norm(module)]
    if not any(is_norm(layer) for layer in layers):
        return []
    trace = _Trace()
    spies = {layer: trace.spy(layer) for layer in layers} | {
        module: _refusing(module) for module in model.modules() if stays(module)
    }
    spied: Any = with_replaced(model, spies)
    # A layer may draw random numbers: those of the caller stay as they were.
    with torch.inference_mode(), torch.random.fork_rng(devices=[]):
        # First the whole model, which knows how its parts are used, then what that does not reach, part by part.
        trace.run(getattr(spied, "raw", spied), spied)
        trace.run_parts(spied)
    return trace.pairs()


def is_convolution(module: nn.Module) -> bool:
    """Whether `module` computes what its class says: no subclass, no parametrization, no `forward` of its own."""
    return type(module) in (nn.Conv2d, nn.ConvTranspose2d) and "forward" not in module.__dict__


def is_norm(module: nn.Module) -> bool:
    """Whether `module` multiplies and adds one number per channel, as batch norm does at inference."""
    if "forward" in module.__dict__ or getattr(module, "running_var", None) is None:
        return False
    return (isinstance(module, _NORMS) and type(module).forward in _FORWARDS) or isinstance(module, ScaleAndShift)


def _refusing(module: nn.Module) -> nn.Module:
    """A copy that cannot run: hooks must not see the tiny image."""

    def forward(*inputs: Any, **options: Any) -> Any:
        raise RuntimeError("has hooks")

    return shallow_copy(module, forward=forward)


class _Trace(TorchFunctionMode):
    """What each convolution's output goes into, and what each batch norm takes; None is any other function.

    Attributes:
        users: of each convolution that ran.
        sources: of each batch norm that ran.
        read: layers whose weights or statistics are used by something else.
    """

    def __init__(self) -> None:
        super().__init__()
        self.users: dict[Convolution, set[nn.Module | None]] = defaultdict(set)
        self.sources: dict[nn.Module, set[nn.Module | None]] = defaultdict(set)
        self.read: set[nn.Module] = set()
        self._outputs: dict[int, tuple[Tensor, Convolution]] = {}
        self._owners: dict[int, nn.Module] = {}
        self._inside = False
        self._originals: dict[nn.Module, nn.Module] = {}

    def spy(self, layer: nn.Module) -> nn.Module:
        """A copy of `layer` that notes its calls."""
        copy = shallow_copy(layer, forward=self._convolve(layer) if is_convolution(layer) else self._normalize(layer))
        self._originals[copy] = layer
        own = (*layer._parameters.values(), *layer._buffers.values())
        self._owners.update((id(tensor), layer) for tensor in own if tensor is not None)
        return copy

    def _convolve(self, layer: Any) -> Callable[..., Tensor]:
        def forward(x: Tensor, *options: Any) -> Tensor:
            self._use(x, None)
            output: Tensor = self._untraced(layer, x, *options)
            self._outputs[id(output)] = output, layer
            return output

        return forward

    def _normalize(self, layer: nn.Module) -> Callable[[Tensor], Tensor]:
        def forward(x: Tensor) -> Tensor:
            _, convolution = self._outputs.get(id(x), (x, None))
            self.sources[layer].add(convolution)
            self._use(x, layer)
            normalized: Tensor = self._untraced(layer, x)
            return normalized

        return forward

    def _untraced(self, layer: nn.Module, *inputs: Any) -> Tensor:
        self._inside = True
        try:
            output: Tensor = layer.forward(*inputs)
            return output
        finally:
            self._inside = False

    def _use(self, tensor: Tensor, user: nn.Module | None) -> None:
        if id(tensor) in self._outputs:
            self.users[self._outputs[id(tensor)][1]].add(user)

    def __torch_function__(self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        # A shape or a type, which are neither tensors nor None, are the same after batch norm.
        if not self._inside and (result is None or next(tensors_in([result]), None) is not None):
            for tensor in tensors_in([args, kwargs]):
                self._use(tensor, None)
                if id(tensor) in self._owners:
                    self.read.add(self._owners[id(tensor)])
        return result

    def run(self, call: Callable[[Tensor], Any], module: nn.Module) -> bool:
        """Whether `call` could be run on a square batch for the first convolution of `module`; if not, forget it."""
        first = next((layer for layer in module.modules() if is_convolution(self._originals.get(layer, layer))), None)
        if not isinstance(first, Convolution):
            return False
        before = {layer: set(users) for layer, users in self.users.items()}
        sources_before = {layer: set(sources) for layer, sources in self.sources.items()}
        weight, side = first.weight, _IMAGE_SIDE if first.in_channels == 3 else _MAP_SIDE
        try:
            x = torch.zeros(1, first.in_channels, side, side, dtype=weight.dtype, device=weight.device)
            with self:
                result = call(x)
            for tensor in tensors_in(result):
                self._use(tensor, None)
        except Exception:  # layers that take something else raise errors of many types
            self.users = defaultdict(set, before)
            self.sources = defaultdict(set, sources_before)
            return False
        finally:
            self._outputs.clear()
        return True

    def run_parts(self, module: nn.Module) -> None:
        """Run each layer inside of `module` that was not reached, the largest that can be run alone."""
        for child in module.children():
            layers = [self._originals[layer] for layer in child.modules() if layer in self._originals]
            reached = [layer in self.sources for layer in layers if is_norm(layer)]
            if not all(reached) and (any(reached) or not self.run(child, child)):
                self.run_parts(child)

    def pairs(self) -> list[Pair]:
        """Convolutions and batch norms that only have one another."""
        found = []
        for convolution, users in self.users.items():
            norm = next(iter(users), None)
            alone = len(users) == 1 and norm is not None and self.sources[norm] == {convolution}
            if alone and norm is not None and not self.read & {convolution, norm}:
                found.append((convolution, norm))
        return found
