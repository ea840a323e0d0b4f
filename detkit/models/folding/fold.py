"""A copy of a model for inference: batch norm is part of the convolutions before it, and layouts suit the device."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar
from weakref import WeakKeyDictionary, ref

import torch
from torch import Tensor, nn
from torch.nn.modules import module as torch_module
from torch.utils._python_dispatch import is_in_torch_dispatch_mode

from detkit.models.folding.fold_weights import Weights, dependencies, fold_weights
from detkit.models.folding.module_copies import shallow_copy, stays, with_replaced
from detkit.models.folding.norm_pairs import is_convolution, norm_pairs

Module = TypeVar("Module", bound=nn.Module)

# Code that writes through `.data` or NumPy changes no version: the values of every 16th row are looked at too.
_ROWS = 16


class _Layout(NamedTuple):
    """The layers of a model, in the order of `modules`: which they are, and what decides if they can be folded."""

    layers: list[ref[nn.Module]]
    settings: list[tuple[bool, bool]]


@dataclass(frozen=True)
class _Plan:
    """What is folded, as long as a model has this layout.

    Args:
        layout: of the model.
        norms: for the number of each convolution, that of the batch norm to fold into it, or None.
    """

    layout: _Layout
    norms: dict[int, int | None]


@dataclass(frozen=True)
class _Folded:
    """Weights of convolutions, and the tensors that they were computed from.

    Args:
        plan: what is folded.
        state: of the tensors, see `_state`.
        aliases: of the tensors, which keep the memory, so that no other tensor gets the same address.
        weights: for the number of each convolution, in the plan.
    """

    plan: _Plan
    state: list[Any]
    aliases: list[Tensor]
    weights: dict[int, Weights]


_NOTHING = nn.Identity()
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
    if not plan.norms:
        return model
    weights = _weights(model, modules, plan)
    replaced: dict[nn.Module, nn.Module] = {}
    for number, norm in plan.norms.items():
        replaced[modules[number]] = shallow_copy(modules[number], _parameters=weights[number])
        if norm is not None:
            replaced[modules[norm]] = _after(modules[norm])
    return with_replaced(model, replaced)


def forget(model: nn.Module) -> None:
    """Free the weights that `folded` keeps for `model`."""
    _FOLDED.pop(model, None)


def _is_traced() -> bool:
    """Whether torch compiles, exports or counts, or hooks on all modules want to see them as they are."""
    hooks = torch_module._global_forward_hooks or torch_module._global_forward_pre_hooks
    return bool(hooks) or torch.compiler.is_compiling() or is_in_torch_dispatch_mode()


def _plan(model: nn.Module, modules: Sequence[nn.Module]) -> _Plan:
    layout = _Layout(
        [ref(module) for module in modules],
        [(stays(module), "forward" in module.__dict__) for module in modules],
    )
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
    state = _state(tensors)
    known = _FOLDED.get(model)
    if known is None or known.plan is not plan or state is None or known.state != state:
        # Not in inference mode: its tensors cannot be used outside of it.
        with torch.inference_mode(False):
            weights = {number: fold_weights(*pair) for number, pair in pairs.items()}
        if state is None:
            return weights
        known = _FOLDED[model] = _Folded(plan, state, [tensor.detach() for tensor in tensors], weights)
    return known.weights


def _state(tensors: Sequence[Tensor]) -> list[Any] | None:
    """Address, version, type and some values of each tensor; None for those made in inference mode, without version."""
    if any(tensor.is_inference() for tensor in tensors):
        return None
    sums = [tensor[::_ROWS].sum(dtype=torch.float32) for tensor in tensors if tensor.ndim > 1]
    return [*((one.data_ptr(), one._version, one.dtype) for one in tensors), torch.stack(sums).tolist()]


def _after(norm: Any) -> nn.Module:
    """What is left of a layer with batch norm: nothing, or timm's dropout and activation."""
    return nn.Sequential(norm.drop, norm.act) if hasattr(norm, "act") and hasattr(norm, "drop") else _NOTHING
