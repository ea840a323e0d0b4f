"""The config of an object: the inverse of building it from one."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError

_PLAIN = (bool, int, float, str, type(None))
_DIGITS = 7  # of float32
RECORD = "_config"  # in the `__dict__` of an object: its config, or the text of why it has none


class Described:
    """A class whose objects record the arguments that they are made with, as a config, for `config_of`.

    They are recorded before the constructor runs: as plain values, so that objects can be pickled and copied as ever.
    """

    def __new__(cls, *args: Any, **keywords: Any) -> Self:
        """Make the object; its constructor gets the same arguments."""
        made = super().__new__(cls)
        made.__dict__[RECORD] = _config_or_reason(cls, args, keywords)
        return made


def record_config(made: Described, config: Mapping[str, Any]) -> None:
    """Let `config_of` give this config, from which `made` has been built."""
    made.__dict__[RECORD] = dict(config)


def config_of(part: Any) -> dict[str, Any]:
    """The config that builds an object: class path and arguments.

    It is what its own ``recipe()`` says, else what it was made with, see `Described`, else what its attributes say.

    Raises:
        InputError: it was made with something that no config can hold, such as a function.
    """
    if callable(recipe := getattr(part, "recipe", None)):
        own: dict[str, Any] = recipe()
        return own
    recorded = getattr(part, "__dict__", {}).get(RECORD)
    if isinstance(recorded, str):
        raise InputError(recorded)
    return recipe_of(part) if recorded is None else dict(recorded)


def _config_or_reason(kind: type, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any] | str:
    try:
        return {"class_path": _path(kind), "init_args": _arguments(kind, args, keywords)}
    except InputError as error:
        return f"This {kind.__name__} has no config that a file could hold: {error}."


def _arguments(kind: type, args: tuple[Any, ...], keywords: Mapping[str, Any]) -> dict[str, Any]:
    names = [name for name, one in inspect.signature(kind).parameters.items() if one.kind is not one.VAR_KEYWORD]
    given = {**dict(zip(names, args, strict=False)), **keywords}
    arguments = {}
    for name, value in given.items():
        try:
            arguments[name] = described(value)
        except InputError as error:
            raise InputError(f"{name} is {error}") from None
    return arguments


def described(value: Any) -> Any:
    """An argument as a config holds it: plain values, the paths of classes, the configs of objects and partials.

    Raises:
        InputError: the words for what it is instead, such as "a function".
    """
    if isinstance(value, _PLAIN) and not isinstance(value, Enum):
        return value
    if isinstance(value, (Tensor, np.ndarray, np.generic)):
        return value.tolist()
    if isinstance(value, (Path, torch.device)):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): described(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [described(one) for one in value]
    if isinstance(value, (set, frozenset)):
        return sorted(described(one) for one in value)
    if isinstance(value, type):
        return _path(value)
    if isinstance(value, partial) and isinstance(value.func, type) and not value.args:
        return {"class_path": _path(value.func), "init_args": described(value.keywords)}
    try:
        return config_of(value)
    except (InputError, ValueError, TypeError, AttributeError):  # what has no signature, or does not keep its arguments
        raise InputError(f"a {type(value).__name__}, which keeps no arguments that it was made with") from None


def _path(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def recipe_of(part: Any, **changed: Any) -> dict[str, Any]:
    """The config of an object that keeps its constructor's arguments as attributes: class path and arguments.

    Args:
        part: the object.
        changed: values of arguments that are not plain attributes.
    """
    names = inspect.signature(type(part)).parameters
    values = {name: changed[name] if name in changed else plain(getattr(part, name)) for name in names}
    return {"class_path": _path(type(part)), "init_args": values}


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
        return _path(value)
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
