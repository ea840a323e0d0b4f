"""How an operation runs on imitated tensors: checked as on a device, counted if it waits, and computed on the CPU."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.utils._pytree import tree_flatten, tree_map, tree_unflatten

from detkit.testing.imitation.imitated_tensor import ImitatedTensor
from detkit.testing.imitation.refusals import refuse_generator, refuse_what_a_device_refuses
from detkit.testing.imitation.waits import kind_of_wait, wait


def is_imitated(value: Any) -> bool:
    """Whether `value` is a tensor on the imitated device."""
    return isinstance(value, ImitatedTensor)


def dispatch(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Run an operation of torch's dispatcher.

    The device "meta" in its arguments comes from torch's own code, which takes it from an imitated tensor.
    """
    values, structure = tree_flatten((args, kwargs))
    tensors = [value for value in values if isinstance(value, Tensor)]
    on_device = any(is_imitated(tensor) for tensor in tensors)
    asked = kwargs.get("device")
    to_device = asked is not None and torch.device(asked).type in ("cuda", "meta")
    if not on_device and not to_device:
        return function(*args, **kwargs)
    name = function._schema.name
    if on_device:
        refuse_what_a_device_refuses(name, function._schema, args, tensors, is_imitated)
    result_on_device = to_device or (on_device and asked is None)
    if result_on_device:
        refuse_generator(next((value for value in values if isinstance(value, torch.Generator)), None))
    _count(name, args, kwargs, on_device, result_on_device)
    if name == "aten::copy_" and not is_imitated(args[0]):
        result_on_device = False
    inner_args, inner_kwargs = tree_unflatten([_unwrapped(value) for value in values], structure)
    if to_device:
        inner_kwargs["device"] = torch.device("cpu")
    if name == "aten::_to_copy" and inner_kwargs.get("device") is not None:
        inner_kwargs["non_blocking"] = False
    return _wrapped(function(*inner_args, **inner_kwargs), tensors, result_on_device)


def _count(name: str, args: tuple[Any, ...], kwargs: dict[str, Any], on_device: bool, result_on_device: bool) -> None:
    if name == "aten::copy_":
        source, target = is_imitated(args[1]), is_imitated(args[0])
        is_blocking = not (kwargs.get("non_blocking") or (len(args) > 2 and args[2]))
    elif name == "aten::_to_copy":
        source, target = is_imitated(args[0]), result_on_device
        is_blocking = not kwargs.get("non_blocking")
    else:
        kind = kind_of_wait(name, args, kwargs, is_imitated)
        if kind is not None and on_device:
            wait(kind)
        return
    # Into memory that is not pinned a copy blocks in any case; `to` pins what it allocates.
    if source and not target and (is_blocking or name == "aten::copy_"):
        wait("copy to the CPU")
    elif target and not source and is_blocking:
        wait("copy to the device")


def _unwrapped(value: Any) -> Any:
    return value.held if is_imitated(value) else value


def _wrapped(result: Any, tensors: list[Tensor], on_device: bool) -> Any:
    """The result of an operation; a tensor that was written to is the same tensor again."""
    written = {id(_unwrapped(tensor)): tensor for tensor in tensors}

    def wrap(value: Any) -> Any:
        if not isinstance(value, Tensor):
            return value
        if id(value) in written:
            return written[id(value)]
        return ImitatedTensor(value) if on_device else value

    return tree_map(wrap, result)
