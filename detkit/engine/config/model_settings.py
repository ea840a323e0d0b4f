"""Checking that a config describes a model: a checkpoint must not lose what was set after the model was built."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import warnings
from collections.abc import Iterator, Mapping
from enum import Enum
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import Any

import numpy as np
import torch
from torch import nn

from detkit.errors import InputError
from detkit.object_config import is_plain, plain

# A checkpoint holds them next to the config, or they depend on how a model is used.
_NOT_SETTINGS = {"training", "categories"}
_UNKNOWN = object()  # stands for values that cannot be compared
_NAMED = (type, FunctionType, BuiltinFunctionType)


def check_describes(model: nn.Module, built: nn.Module, name: str = "model") -> None:
    """Refuse a config that builds another model than the given one.

    It compares the types of all parts, and for each part the constructor arguments that it keeps as attributes of the
    same name; for parts of detkit every public attribute; and everything in detkit's settings, such as the numbers of a
    `Postprocess` or a `Matcher`. Weights are not compared.

    Args:
        model: the model to describe.
        built: the model that the config builds.
        name: the name of the model in messages.

    Raises:
        InputError: the first difference, by its dotted name.
    """
    theirs = dict(built.named_modules())
    for path, module in model.named_modules():
        part = f"{name}.{path}" if path else name
        other = theirs.pop(path, None)
        if type(other) is not type(module):
            builds = "nothing" if other is None else type(other).__name__
            raise InputError(
                f"{part} is a {type(module).__name__}, but the config builds {builds} there: give the config that "
                "describes the model"
            )
        _check_same(part, _settings(module), _settings(other))
    if theirs:
        raise InputError(f"the config builds {name}.{next(iter(theirs))}, which the model does not have")


def _check_same(part: str, settings: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for attribute in {**settings, **expected}:
        value, builds = settings.get(attribute), expected.get(attribute)
        if value is _UNKNOWN and builds is _UNKNOWN:
            warnings.warn(
                f"{part}.{attribute} cannot be compared with the config: what it builds comes back", stacklevel=4
            )
        elif value != builds:
            raise InputError(
                f"{part}.{attribute} is {value}, but the config builds {builds}: give the config that describes the "
                "model, or set it when the model is built"
            )


def _settings(module: nn.Module) -> dict[str, Any]:
    """The settings of a module, without weights and submodules, as plain values by dotted names."""
    weights = module.state_dict(keep_vars=True)
    kept = {**vars(module), **dict(module.named_buffers(recurse=False))}
    arguments = inspect.signature(type(module)).parameters
    kept |= {name: getattr(module, name) for name in arguments if name not in kept and hasattr(module, name)}
    is_detkits = _of_detkit(type(module))
    return {
        dotted: plain_value
        for name, value in kept.items()
        if name not in weights and name not in _NOT_SETTINGS and not isinstance(value, nn.Module)
        if name in arguments or (not name.startswith("_") and (is_detkits or _of_detkit(type(value))))
        for dotted, plain_value in _flatten(name, value, ())
    }


def _flatten(name: str, value: Any, ancestors: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """`value` at the dotted name `name`, and all that it contains."""
    if is_plain(value):
        yield name, plain(value)
    elif isinstance(value, Mapping):
        yield from _flatten_parts(name, {str(key): one for key, one in value.items()}, value, ancestors)
    elif isinstance(value, (list, tuple)):
        yield f"{name}.length", len(value)
        yield from _flatten_parts(name, {str(index): one for index, one in enumerate(value)}, value, ancestors)
    elif isinstance(value, (set, frozenset)):
        yield name, sorted(map(str, value))
    elif isinstance(value, np.ndarray):
        yield name, value.tolist()
    elif isinstance(value, functools.partial):
        parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
        yield from _flatten_parts(name, parts, value, ancestors)
    elif isinstance(value, MethodType):
        yield name, _path(value.__func__)
    elif isinstance(value, _NAMED):
        yield name, _path(value)
    elif isinstance(value, (Enum, torch.dtype, torch.device, np.generic)):
        yield name, str(value)
    elif isinstance(value, nn.Module):
        yield name, _path(type(value))
    elif hasattr(value, "__dict__"):
        yield name, _path(type(value))
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        not_compared = {one.name for one in fields if not one.compare}
        yield from _flatten_parts(
            name, {key: one for key, one in vars(value).items() if key not in not_compared}, value, ancestors
        )
    else:
        yield name, _UNKNOWN


def _flatten_parts(
    prefix: str, parts: Mapping[str, Any], whole: Any, ancestors: tuple[int, ...]
) -> Iterator[tuple[str, Any]]:
    if id(whole) not in ancestors:  # an object may hold what holds it
        for name, part in parts.items():
            yield from _flatten(f"{prefix}.{name}", part, (*ancestors, id(whole)))


def _path(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _of_detkit(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "detkit"
