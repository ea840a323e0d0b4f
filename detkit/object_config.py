"""The config of an object: the inverse of building it from one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from detkit.errors import InputError

_PLAIN = (bool, int, float, str, type(None))
_DIGITS = 7  # of float32


def recipe_of(part: Any, **changed: Any) -> dict[str, Any]:
    """The config of an object that keeps its constructor's arguments as attributes: class path and arguments.

    Args:
        part: the object.
        changed: values of arguments that are not plain attributes.
    """
    names = inspect.signature(type(part)).parameters
    values = {name: changed[name] if name in changed else plain(getattr(part, name)) for name in names}
    return {"class_path": f"{type(part).__module__}.{type(part).__qualname__}", "init_args": values}


def plain(value: Any) -> Any:
    """`value` as lists, dicts, strings and numbers; an object that keeps its arguments becomes its config.

    Raises:
        InputError: the object does not keep its arguments.
    """
    if isinstance(value, Tensor):
        return [round(number, _DIGITS) for number in value.detach().flatten().tolist()]
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, range, torch.Size)):
        return [plain(one) for one in value]
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if hasattr(value, "__dict__") and all(hasattr(value, name) for name in inspect.signature(type(value)).parameters):
        return recipe_of(value)
    raise InputError(f"a {type(value).__name__} does not keep the arguments that it was made with: it has no config")


def is_plain(value: Any) -> bool:
    """Whether `value` consists of lists, dicts, strings, numbers and tensors."""
    if isinstance(value, Mapping):
        return all(is_plain(one) for one in value.values())
    if isinstance(value, (list, tuple)):
        return all(is_plain(one) for one in value)
    return isinstance(value, (*_PLAIN, Tensor, range))
