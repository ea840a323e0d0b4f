"""Copies of a module tree in which some layers are replaced; all else is shared with the original."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import nn
from torch._dynamo import OptimizedModule

_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")

Module = TypeVar("Module", bound=nn.Module)


def with_replaced(module: Module, replaced: Mapping[nn.Module, nn.Module]) -> Module:
    """`module` with other layers; itself if none of them is inside.

    Copied are the layers on the path to a replaced one, each once, with the attributes, parameters and buffers of the
    original as they are now. A layer with hooks is the original, so that its hooks get the module that they know, and
    so are the layers inside of it.
    """
    copy = _with_replaced(module, replaced, {})
    assert isinstance(copy, type(module))
    return copy


def _with_replaced(
    module: nn.Module, replaced: Mapping[nn.Module, nn.Module], known: dict[nn.Module, nn.Module]
) -> nn.Module:
    if module in known:
        return known[module]
    known[module] = module  # while a module that contains itself is copied
    result = module
    if module in replaced:
        result = replaced[module]
    elif module._modules and not stays(module):
        children = {
            name: None if child is None else _with_replaced(child, replaced, known)
            for name, child in module._modules.items()
        }
        if any(child is not module._modules[name] for name, child in children.items()):
            result = shallow_copy(module, _modules=children)
    known[module] = result
    return result


def shallow_copy(module: Module, **attributes: Any) -> Module:
    """A module with the attributes of `module`, the same objects, but without hooks, and except for those given."""
    copy = object.__new__(type(module))
    copy.__dict__.update(module.__dict__, **{name: OrderedDict() for name in _HOOKS}, **attributes)
    copy.__dict__.pop("_compiled_call_impl", None)  # which calls the original
    return copy


def stays(module: nn.Module) -> bool:
    """Whether a copy would not do what `module` does: it has hooks, or is compiled as a whole."""
    own = module.__dict__
    # Written out: it runs for each layer of each prediction.
    is_hooked = (
        own["_forward_hooks"] or own["_forward_pre_hooks"] or own["_backward_hooks"] or own["_backward_pre_hooks"]
    )
    if is_hooked or own.get("_compiled_call_impl") is not None:
        return True
    return isinstance(module, (torch.jit.ScriptModule, OptimizedModule))
