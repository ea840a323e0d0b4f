"""A copy of a model for inference: batch norm is part of the convolutions before it, and layouts suit the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from detkit.models.folding.fold_weights import Weights, dependencies, fold_weights
from detkit.models.folding.folded_norm import without_norm
from detkit.models.folding.layout import Layout
from detkit.models.folding.module_copies import shallow_copy, stays, with_replaced
from detkit.models.folding.norm_pairs import is_convolution, norm_pairs
from detkit.models.folding.snapshot import Snapshot

Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class _Plan:
    """What is folded, as long as a model has this layout.

    Args:
        layout: of the model.
        norms: for the number of each convolution, that of the batch norm to fold into it, or None.
    """

    layout: Layout
    norms: dict[int, int | None]


@dataclass(frozen=True)
class _Folded:
    """Weights of convolutions, and the tensors that they were computed from.

    Args:
        plan: what is folded.
        snapshot: of the tensors.
        weights: for the number of each convolution, in the plan.
    """

    plan: _Plan
    snapshot: Snapshot
    weights: dict[int, Weights]


_PLANS: WeakKeyDictionary[nn.Module, _Plan] = WeakKeyDictionary()
_FOLDED: WeakKeyDictionary[nn.Module, _Folded] = WeakKeyDictionary()


@torch.no_grad()
def folded(model: Module) -> Module:
    """A copy of `model` for inference without batch norm, which computes the same up to rounding; `model` stays as is.

    The copy shares everything with `model` but the weights of convolutions. Batch norm with stored statistics is
    folded into them, and on a CPU their layout is channels-last, in which oneDNN is fastest. Make a copy for each call:
    it takes about a millisecond, and what is set on `model` later is not seen by it. The new weights are kept for
    further copies until a weight or a layer changes, or training begins.

    Layers with hooks, and what is inside of them, stay as they are. A model in training mode is returned itself, and so
    is any model while torch traces.
    """
    modules: list[Any] = list(model.modules())
    if _is_traced() or stays(model) or any(module.training for module in modules):
        return model
    plan = _plan(model, modules)
    if not plan.norms or any(modules[number].weight.is_meta for number in plan.norms):
        return model
    weights = _weights(model, modules, plan)
    replaced: dict[nn.Module, nn.Module] = {}
    for number, norm in plan.norms.items():
        replaced[modules[number]] = shallow_copy(modules[number], _parameters=weights[number])
        if norm is not None:
            replaced[modules[norm]] = without_norm(modules[norm])
    return with_replaced(model, replaced)


def forget(model: nn.Module) -> None:
    """Free the weights that `folded` keeps for `model`."""
    _FOLDED.pop(model, None)


def _is_traced() -> bool:
    """Whether torch compiles, exports or counts, or hooks on all modules want to see them as they are."""
    hooks = torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks
    return bool(hooks) or torch.compiler.is_compiling() or is_in_torch_dispatch_mode()


def _plan(model: nn.Module, modules: Sequence[nn.Module]) -> _Plan:
    layout = Layout.of(modules)
    plan = _PLANS.get(model)
    if plan is None or plan.layout != layout:
        numbers = {module: number for number, module in enumerate(modules)}
        pairs = {numbers[convolution]: numbers[norm] for convolution, norm in norm_pairs(model)}
        # Parameters of other types are split over devices, or not there yet.
        convolutions = [
            number
            for module, number in numbers.items()
            if is_convolution(module) and not stays(module) and type(module.weight) is nn.Parameter
        ]
        plan = _PLANS[model] = _Plan(layout, {number: pairs.get(number) for number in convolutions})
    return plan


def _weights(model: nn.Module, modules: Sequence[Any], plan: _Plan) -> dict[int, Weights]:
    """The weights of the plan's convolutions: those known, if no tensor has changed since."""
    pairs = {number: (modules[number], None if norm is None else modules[norm]) for number, norm in plan.norms.items()}
    tensors = [tensor for pair in pairs.values() for tensor in dependencies(*pair)]
    known = _FOLDED.get(model)
    if known is not None and known.plan is plan and known.snapshot.is_of(tensors):
        return known.weights
    # Not in inference mode: its tensors cannot be used outside of it.
    with torch.inference_mode(False), torch.no_grad():
        # Before the weights are computed: a change by another thread meanwhile is then seen.
        snapshot = Snapshot.of(tensors)
        weights = {number: fold_weights(*pair) for number, pair in pairs.items()}
    if snapshot is not None:
        _FOLDED[model] = _Folded(plan, snapshot, weights)
    return weights
