"""`ModelCategories`: what a model is told of its classes, made the `Category` of each label."""

from __future__ import annotations

from collections.abc import Sequence
from typing import overload

from torch import nn

from detkit.errors import InputError
from detkit.structures.categories import Category


def categories_from(given: Sequence[Category | str]) -> list[Category]:
    """The categories in the order of their labels; those of names get ids from 1.

    Raises:
        InputError: one is no `Category` and no name.
    """
    if isinstance(given, str):
        raise InputError(f"categories must be a list of categories or of their names, got the text {given!r}")
    for index, one in enumerate(given):
        if not isinstance(one, (Category, str)):
            raise InputError(f"categories[{index}] must be a Category or a name, got {one!r}")
    return [Category(index + 1, one) if isinstance(one, str) else one for index, one in enumerate(given)]


class ModelCategories:
    """The attribute `categories` of a model: what was set, names made categories; None until then."""

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    @overload
    def __get__(self, model: None, owner: type) -> ModelCategories: ...
    @overload
    def __get__(self, model: nn.Module, owner: type) -> list[Category] | None: ...
    def __get__(self, model: nn.Module | None, owner: type) -> ModelCategories | list[Category] | None:
        return self if model is None else vars(model).get(self.name)

    def __set__(self, model: nn.Module, given: Sequence[Category | str] | None) -> None:
        vars(model)[self.name] = None if given is None else categories_from(given)
