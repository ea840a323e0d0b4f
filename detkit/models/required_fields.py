"""The fields of targets that a model needs: those set on the model itself and those of its modules."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Collection, Iterable
from typing import overload

from torch import nn

from detkit.errors import InputError
from detkit.structures import Target


class RequiredFields:
    """The attributes `learns_from` and `asks_for` of a model: its own fields and those of its modules.

    The model and each module set it to a name or several. Reading it raises InputError if a name seems misspelled.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name

    @overload
    def __get__(self, model: None, owner: type) -> RequiredFields: ...
    @overload
    def __get__(self, model: nn.Module, owner: type) -> frozenset[str]: ...
    def __get__(self, model: nn.Module | None, owner: type) -> RequiredFields | frozenset[str]:
        if model is None:
            return self
        fields: set[str] = set()
        # Without `modules()` and getattr on each, which would add a millisecond to every call.
        parts: list[nn.Module | None] = [model]
        while parts:
            part = parts.pop()
            if part is None:
                continue
            parts.extend(part._modules.values())
            # mypy takes the class for its instances, whose __hash__ has another signature than object's.
            value = part.__dict__.get(self.name) or _class_value(type(part), self.name)  # type: ignore[arg-type]
            if value:
                names = _as_set(value)
                _check(names - Target.kinds().keys(), f"{type(part).__name__}.{self.name}")
                fields |= names
        return frozenset(fields)

    def __set__(self, model: nn.Module, value: str | Collection[str]) -> None:
        vars(model)[self.name] = _as_set(value)


def check_fields(model: nn.Module) -> None:
    """Raise InputError if `model` or a module of it names a field that seems misspelled."""
    for name in ("learns_from", "asks_for"):
        getattr(model, name)


@functools.cache
def _class_value(kind: type[nn.Module], name: str) -> str | Collection[str]:
    value = getattr(kind, name, ())
    return () if isinstance(value, RequiredFields) else value


def _as_set(names: str | Iterable[str]) -> frozenset[str]:
    return frozenset({names} if isinstance(names, str) else names)


def _check(names: Collection[str], owner: str) -> None:
    if not names:
        return
    known = {name for kind in _classes(Target) for name in kind.kinds()}
    for name in sorted(set(names) - known):
        # A name unlike all fields may belong to a user's Target class that is not imported yet; the data checks it.
        near = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.75)
        if near:
            raise InputError(
                f"{owner} names {name!r}, but there is no such field of targets: did you mean {' or '.join(near)}?"
            )


def _classes(kind: type[Target]) -> list[type[Target]]:
    """The class and those derived from it, as users' data sets may add fields."""
    return [kind, *(below for derived in kind.__subclasses__() for below in _classes(derived))]
