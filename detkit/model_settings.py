"""The settings of a model's parts, and how they differ from those of another: files must not lose what was set."""

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
from detkit.object_config import RECORD, is_plain, plain

# A checkpoint holds them next to the config, or they depend on how a model is used.
_NOT_SETTINGS = {"training", "categories", "weights_source"}
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
    for one in differences(model, built):
        part = f"{name}.{one.part}" if one.part else name
        if one.attribute is None and one.value is None:
            raise InputError(f"the config builds {part}, which the model does not have")
        if one.attribute is None:
            raise InputError(
                f"{part} is a {one.value}, but the config builds {one.other or 'nothing'} there: give the config that "
                "describes the model"
            )
        if not one.comparable:
            warnings.warn(
                f"{part}.{one.attribute} cannot be compared with the config: what it builds comes back", stacklevel=3
            )
            continue
        raise InputError(
            f"{part}.{one.attribute} is {one.value}, but the config builds {one.other}: give the config that "
            "describes the model, or set it when the model is built"
        )


@dataclasses.dataclass(frozen=True)
class Difference:
    """A setting that two models do not share.

    Args:
        part: dotted name of the module; empty for the whole model.
        attribute: dotted name of the setting in it; None: the module itself, whose class is the value.
        value: in the first model.
        other: in the second.
        comparable: whether the values tell that they differ; otherwise nothing is known of them.
    """

    part: str
    attribute: str | None
    value: Any
    other: Any
    comparable: bool = True


def differences(model: nn.Module, other: nn.Module) -> Iterator[Difference]:
    """The parts and settings in which two models differ, in the order of the parts; see `check_describes`."""
    theirs = dict(other.named_modules())
    for part, module in model.named_modules():
        twin = theirs.pop(part, None)
        if type(twin) is not type(module):
            yield Difference(part, None, type(module).__name__, None if twin is None else type(twin).__name__)
        if twin is not None:
            yield from _differing(part, _settings(module), _settings(twin))
    for part, twin in theirs.items():
        yield Difference(part, None, None, type(twin).__name__)


def _differing(part: str, settings: Mapping[str, Any], others: Mapping[str, Any]) -> Iterator[Difference]:
    for attribute in {**settings, **others}:
        value, other = settings.get(attribute), others.get(attribute)
        if value is _UNKNOWN and other is _UNKNOWN:
            yield Difference(part, attribute, None, None, comparable=False)
        elif value != other:
            yield Difference(part, attribute, value, other)


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
        # Of what it was made with, the rest tells all.
        not_compared = {RECORD, *(one.name for one in fields if not one.compare)}
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
