"""Deprecation helpers: old names work for one release, with a warning that gives the new one."""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import operator
import warnings
from collections.abc import Callable, Mapping
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")
Arguments = dict[str, Any]


class OldName(DeprecationWarning):
    """The warning for a name, an argument or a key of the previous release."""


def warn(message: str, stacklevel: int = 3) -> None:
    """Warn of an old name; `message` is one sentence that says what to write instead."""
    warnings.warn(message, OldName, stacklevel=stacklevel)


def show_in(logger: logging.Logger) -> None:
    """Log each warning of an old name once: Python hides deprecation warnings from those who run a command."""
    warnings.simplefilter("always", OldName)
    others = warnings.showwarning
    logged: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *location: Any, **options: Any) -> None:
        if not issubclass(category, OldName):
            others(message, category, *location, **options)
        elif str(message) not in logged:
            logged.add(str(message))
            logger.warning("%s", message)

    warnings.showwarning = show


def moved_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module-level ``__getattr__`` for names that have moved.

    Args:
        module: the module that the names were in.
        names: from each old name to the new one with its module: ``{"Square": "detkit.preprocess.Square"}``.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        # Without the module: it may have been imported by an old name of its own.
        warn(f"{name} is {names[name]} now", stacklevel=3)
        return getattr(importlib.import_module(home), new)

    return find


def old_arguments(
    renew: Callable[[type, Arguments, list[str]], Arguments],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator for an ``__init__`` that still accepts keywords which its signature no longer has.

    Args:
        renew: called with the class, the keywords of a call and the names of the unknown ones among them; returns
            keywords of the signature, and warns.
    """

    def decorate(init: Callable[P, R]) -> Callable[P, R]:
        known = inspect.signature(init).parameters

        @functools.wraps(init)
        def renewed(*args: Any, **keywords: Any) -> R:
            unknown = [name for name in keywords if name not in known]
            return init(*args, **(renew(type(args[0]), keywords, unknown) if unknown else keywords))

        return renewed

    return decorate


def rename_hooks(owner: type, names: Mapping[str, str]) -> None:
    """Make methods that a subclass overrides under an old name override the new one; for ``__init_subclass__``.

    Args:
        owner: the subclass.
        names: from each old name to the new one.
    """
    for old, new in names.items():
        if old in vars(owner) and new not in vars(owner):
            warn(f"{owner.__name__}.{old} is deprecated: call it {new}", stacklevel=4)
            setattr(owner, new, vars(owner)[old])


class MovedAttribute:
    """An attribute that was renamed or moved into a part of the object: a descriptor that forwards, with a warning.

    Args:
        paths: the new attribute, such as ``"postprocess.score_threshold"``; writing sets all of several.
        name: the old name; not needed for an attribute in the body of a class.
    """

    def __init__(self, *paths: str, name: str = "") -> None:
        self.paths = paths
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def put(self, owner: type, name: str) -> None:
        """Set it as the attribute `name` of an existing class."""
        self.name = name
        setattr(owner, name, self)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        self._warn(instance)
        return operator.attrgetter(self.paths[0])(instance)

    def __set__(self, instance: Any, value: Any) -> None:
        self._warn(instance)
        for path in self.paths:
            part, _, name = path.rpartition(".")
            setattr(operator.attrgetter(part)(instance) if part else instance, name, value)

    def _warn(self, instance: Any) -> None:
        kind = type(instance).__name__
        warn(f"{kind}.{self.name} is {' and '.join(f'{kind}.{path}' for path in self.paths)} now", stacklevel=4)
