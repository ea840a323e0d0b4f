"""Whether a config describes a model as it is: a checkpoint must not lose what was set after the model was built."""

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

from detkit.config_of import is_plain, plain
from detkit.errors import InputError

# A checkpoint holds them beside the config, or they are said by how a model is used.
_NOT_SETTINGS = {"training", "categories"}
_UNKNOWN = object()  # what nothing can be said of
_NAMED = (type, FunctionType, BuiltinFunctionType)


def check_describes(model: nn.Module, built: nn.Module, name: str = "model") -> None:
    """Refuse a config that builds another model than the one at hand.

    Compared are the kinds of all parts, and of each part the arguments of its constructor that it keeps as attributes
    of the same name; of parts of detkit every attribute, and wherever they are what detkit's settings hold, such as the
    numbers of a `Postprocess` or a `Matcher`. Weights are not.

    Args:
        model: what is to be described.
        built: what the config builds.
        name: how messages call the model.

    Raises:
        InputError: the first difference, by its dotted name.
    """
    theirs = dict(built.named_modules())
    for path, module in model.named_modules():
        place = f"{name}.{path}" if path else name
        other = theirs.pop(path, None)
        if type(other) is not type(module):
            builds = "nothing" if other is None else type(other).__name__
            raise InputError(
                f"{place} is a {type(module).__name__}, but the config builds {builds} there: give the config that "
                "describes the model"
            )
        _check_same(place, _settings(module), _settings(other))
    if theirs:
        raise InputError(f"the config builds {name}.{next(iter(theirs))}, which the model does not have")


def _check_same(place: str, settings: Mapping[str, Any], expected: Mapping[str, Any]) -> None:
    for attribute in {**settings, **expected}:
        value, builds = settings.get(attribute), expected.get(attribute)
        if value is _UNKNOWN and builds is _UNKNOWN:
            warnings.warn(
                f"{place}.{attribute} cannot be compared with the config: what it builds comes back", stacklevel=4
            )
        elif value != builds:
            raise InputError(
                f"{place}.{attribute} is {value}, but the config builds {builds}: give the config that describes the "
                "model, or set it when the model is built"
            )


def _settings(module: nn.Module) -> dict[str, Any]:
    """What a module keeps beside its weights and its parts, in plain values by their dotted names."""
    weights = module.state_dict(keep_vars=True)
    kept = {**vars(module), **dict(module.named_buffers(recurse=False))}
    arguments = inspect.signature(type(module)).parameters
    kept |= {name: getattr(module, name) for name in arguments if name not in kept and hasattr(module, name)}
    is_detkits = _of_detkit(type(module))
    return {
        dotted: said
        for name, value in kept.items()
        if name not in weights and name not in _NOT_SETTINGS and not isinstance(value, nn.Module)
        if name in arguments or (not name.startswith("_") and (is_detkits or _of_detkit(type(value))))
        for dotted, said in _said(name, value, ())
    }


def _said(place: str, value: Any, within: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    """`value` at `place`, and all that it is made of at places within."""
    if is_plain(value):
        yield place, plain(value)
    elif isinstance(value, Mapping):
        yield from _all_of(place, {str(key): one for key, one in value.items()}, value, within)
    elif isinstance(value, (list, tuple)):
        yield f"{place}.length", len(value)
        yield from _all_of(place, {str(index): one for index, one in enumerate(value)}, value, within)
    elif isinstance(value, (set, frozenset)):
        yield place, sorted(map(str, value))
    elif isinstance(value, np.ndarray):
        yield place, value.tolist()
    elif isinstance(value, functools.partial):
        parts = {"func": value.func, "args": value.args, "keywords": value.keywords}
        yield from _all_of(place, parts, value, within)
    elif isinstance(value, MethodType):
        yield place, _path(value.__func__)
    elif isinstance(value, _NAMED):
        yield place, _path(value)
    elif isinstance(value, (Enum, torch.dtype, torch.device, np.generic)):
        yield place, str(value)
    elif isinstance(value, nn.Module):
        yield place, _path(type(value))
    elif hasattr(value, "__dict__"):
        yield place, _path(type(value))
        fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        beside = {one.name for one in fields if not one.compare}
        yield from _all_of(place, {name: one for name, one in vars(value).items() if name not in beside}, value, within)
    else:
        yield place, _UNKNOWN


def _all_of(place: str, parts: Mapping[str, Any], whole: Any, within: tuple[int, ...]) -> Iterator[tuple[str, Any]]:
    if id(whole) not in within:  # an object may hold what holds it
        for name, part in parts.items():
            yield from _said(f"{place}.{name}", part, (*within, id(whole)))


def _path(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _of_detkit(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "detkit"
