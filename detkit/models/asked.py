"""Which fields of targets a model learns from and asks for: its own, and those that its parts name."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterable
from typing import overload

from torch import nn

from detkit.errors import InputError
from detkit.structures import Target


class NamedFields:
    """An attribute of a model: the fields that it was set to, with those that any of its modules names likewise.

    What is set, on the model or on a module, is a name or several. To read it raises InputError where a name is nearly
    that of a field of targets.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> NamedFields: ...
    @overload
    def __get__(self, model: nn.Module, owner: type) -> frozenset[str]: ...
    def __get__(self, model: nn.Module | None, owner: type) -> NamedFields | frozenset[str]:
        if model is None:
            return self
        found: set[str] = set()
        # By hand: `modules()` and a failing getattr on each would take a millisecond of every call.
        parts: list[nn.Module | None] = [model]
        while parts:
            part = parts.pop()
            if part is None:
                continue
            parts.extend(part._modules.values())
            value = part.__dict__.get(self.name) or _of_class(type(part), self.name)
            if value:
                named = _named(value)
                _check(named - Target.kinds().keys(), f"{type(part).__name__}.{self.name}")
                found |= named
        return frozenset(found)

    def __set__(self, model: nn.Module, value: str | Collection[str]) -> None:
        vars(model)[self.name] = _named(value)


def check_fields(model: nn.Module) -> None:
    """Raise InputError where `model`, or a part of it, names what is nearly a field of targets, but none."""
    for name in ("learns_from", "asks_for"):
        getattr(model, name)


@functools.cache
def _of_class(kind: type[nn.Module], name: str) -> str | Collection[str]:
    value = getattr(kind, name, ())
    return () if isinstance(value, NamedFields) else value


def _named(names: str | Iterable[str]) -> frozenset[str]:
    return frozenset({names} if isinstance(names, str) else names)


def _check(names: Collection[str], owner: str) -> None:
    if not names:
        return
    known = {name for kind in _classes(Target) for name in kind.kinds()}
    for name in sorted(set(names) - known):
        # What is like none may be a field of a data set's own, whose class is not imported yet: the data knows.
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.75)
        if near:
            raise InputError(
                f"{owner} names {name!r}, but there is no such field of targets: did you mean {' or '.join(near)}?"
            )


def _classes(kind: type[Target]) -> list[type[Target]]:
    """The class and those derived from it: data sets may bring fields of their own."""
    return [kind, *(below for derived in kind.__subclasses__() for below in _classes(derived))]
