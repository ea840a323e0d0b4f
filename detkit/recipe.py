"""From an object back to the config that builds it."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

_PLAIN = (bool, int, float, str, type(None))
_DIGITS = 7  # of float32


def recipe_of(part: Any, **changed: Any) -> dict[str, Any]:
    """The config of an object whose constructor's arguments are its attributes: class path and arguments.

    Args:
        part: the object.
        changed: arguments that are no plain attributes.
    """
    names = inspect.signature(type(part)).parameters
    values = {name: changed[name] if name in changed else plain(getattr(part, name)) for name in names}
    return {"class_path": f"{type(part).__module__}.{type(part).__qualname__}", "init_args": values}


def plain(value: Any) -> Any:
    """`value` in lists, dicts and numbers; None where it is nothing of the kind."""
    if isinstance(value, Tensor):
        return [round(number, _DIGITS) for number in value.detach().flatten().tolist()]
    if isinstance(value, _PLAIN):
        return value
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, range, torch.Size)):
        return [plain(one) for one in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {one.name: plain(getattr(value, one.name)) for one in dataclasses.fields(value)}
    return None
