"""Nulls in a config: only an argument whose type has None can be without a value."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Iterator, Mapping
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from jsonargparse.typing import import_object

from detkit.engine.config.values.declared_arguments import declared_arguments
from detkit.errors import InputError

_FROM_DATA = "num_classes"  # which the data fills in later


def check_nulls(parser: ArgumentParser, config: Mapping[str, Any]) -> None:
    """Refuse a null that jsonargparse lets through, whatever the type of the argument.

    Args:
        parser: declares the arguments.
        config: plain values, as a recipe has them; their classes are imported.

    Raises:
        InputError: it names the key.
    """
    hints = {one.key: one.hint for one in declared_arguments(parser) if one.default is not None}
    for key, hint in _nulls(config, "", hints):
        if not _takes_none(hint):
            raise InputError(f"{key} cannot be null: give a value, or leave it out for the default.")


def restore_nulls(config: Any) -> None:
    """Set None where jsonargparse has made the text ``None`` of a null on the command line: in arguments of classes.

    Args:
        config: the result of parsing, or a part of it.
    """
    for part in config if isinstance(config, list) else vars(config).values() if isinstance(config, Namespace) else ():
        restore_nulls(part)
    arguments = config.get("init_args") if isinstance(config, Namespace) else None
    if not isinstance(arguments, Namespace) or "None" not in vars(arguments).values():
        return
    hints = _all_hints(config.get("class_path"))
    for name, value in vars(arguments).items():
        if value == "None" and name in hints and _takes_none(hints[name]):
            arguments[name] = None


def _nulls(value: Any, key: str, hints: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """Each null with its key and its type.

    Args:
        value: a part of the config.
        key: its key.
        hints: the types of the arguments within it, by what follows its key.
    """
    if isinstance(value, list):
        for number, inside in enumerate(value):
            yield from _nulls(inside, f"{key}[{number}]", {})
    if not isinstance(value, Mapping):
        return
    if "class_path" in value:
        arguments = value.get("init_args") or {}
        yield from _nulls(arguments, f"{key}.init_args", _hints(value["class_path"], arguments))
        return
    for name, inside in value.items():
        path = f"{key}.{name}" if key else str(name)
        if inside is None and name in hints:
            yield path, hints[name]
        within = {one.removeprefix(f"{name}."): hint for one, hint in hints.items() if one.startswith(f"{name}.")}
        yield from _nulls(inside, path, within)


def _hints(class_path: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """The types of the arguments of a class, apart from those that are None by default."""
    if None not in arguments.values():
        return {}
    hints = _all_hints(class_path)
    parameters = inspect.signature(_constructor(class_path)).parameters if hints else {}
    required = {name for name, one in parameters.items() if one.default is not None} - {_FROM_DATA}
    return {name: hint for name, hint in hints.items() if name in required}


def _all_hints(class_path: str) -> Mapping[str, Any]:
    """The types of the arguments of a class; none where nothing is known of them."""
    try:
        return typing.get_type_hints(_constructor(class_path))
    except Exception:  # a function, or types that only a type checker can read
        return {}


def _constructor(class_path: str) -> Any:
    return inspect.unwrap(import_object(class_path).__init__)


def _takes_none(hint: Any) -> bool:
    if hint in (None, types.NoneType, Any) or isinstance(hint, typing.TypeVar):
        return True
    return typing.get_origin(hint) in (typing.Union, types.UnionType) and any(map(_takes_none, typing.get_args(hint)))
