"""Old names, which still work for one release and say what to write instead."""

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
    """A name, an argument or a key of the release before."""


def warn(message: str, stacklevel: int = 3) -> None:
    """Warn that something will go: one sentence that says what to write instead."""
    warnings.warn(message, OldName, stacklevel=stacklevel)


def show_in(logger: logging.Logger) -> None:
    """Let those who run a command see which of their keys are old, each once; Python hides such warnings from them."""
    warnings.simplefilter("always", OldName)
    others, shown = warnings.showwarning, set()

    def show(message: Warning | str, category: type[Warning], *place: Any, **options: Any) -> None:
        if not issubclass(category, OldName):
            others(message, category, *place, **options)
        elif str(message) not in shown:
            shown.add(str(message))
            logger.warning("%s", message)

    warnings.showwarning = show


def moved_names(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A ``__getattr__`` of `module` for names that are at home elsewhere now.

    Args:
        module: the old home.
        names: of each old name the new one, with its module: ``{"Square": "detkit.preprocess.Square"}``.
    """

    def find(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, new = names[name].rpartition(".")
        warn(f"{module}.{name} is {names[name]} now", stacklevel=3)
        return getattr(importlib.import_module(home), new)

    return find


def old_arguments(
    renew: Callable[[type, Arguments, list[str]], Arguments],
) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A decorator of an ``__init__`` that still takes keywords which are not in its signature any more.

    Args:
        renew: from the class, the keywords of a call and the names of those that the signature does not have to
            keywords that it has; it warns.
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
    """Let what a subclass overrides under an old name count under the new one; for ``__init_subclass__``.

    Args:
        owner: the subclass.
        names: of each old name the new one.
    """
    for old, new in names.items():
        if old in vars(owner) and new not in vars(owner):
            warn(f"{owner.__name__}.{old} is deprecated: call it {new}", stacklevel=4)
            setattr(owner, new, vars(owner)[old])


class MovedAttribute:
    """An attribute that stands in a part of the object now: it is read and written there, with a warning.

    Args:
        paths: where it stands now, ``"postprocess.score_threshold"``; what is written goes to all of several.
        name: its name; that under which a class has it is known without.
    """

    def __init__(self, *paths: str, name: str = "") -> None:
        self.paths = paths
        self.name = name

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    def put(self, owner: type, name: str) -> None:
        """Make it the attribute `name` of a class that is there already."""
        self.name = name
        setattr(owner, name, self)

    def __get__(self, instance: Any, owner: type) -> Any:
        if instance is None:
            return self
        self._warn(instance)
        part, _, name = self.paths[0].rpartition(".")
        return getattr(operator.attrgetter(part)(instance), name)

    def __set__(self, instance: Any, value: Any) -> None:
        self._warn(instance)
        for path in self.paths:
            part, _, name = path.rpartition(".")
            setattr(operator.attrgetter(part)(instance), name, value)

    def _warn(self, instance: Any) -> None:
        kind = type(instance).__name__
        warn(f"{kind}.{self.name} is {' and '.join(f'{kind}.{path}' for path in self.paths)} now", stacklevel=4)
