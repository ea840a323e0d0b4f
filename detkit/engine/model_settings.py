"""Whether a config describes a model as it is: a checkpoint must not lose what was set after the model was built."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

from torch import nn

from detkit.errors import InputError
from detkit.recipe import plain


def check_describes(model: nn.Module, built: nn.Module, name: str = "model") -> None:
    """Refuse a config that builds another model than the one at hand.

    Compared are the kinds of all parts, and of each part the arguments of its constructor that it keeps as attributes
    of the same name; weights are not.

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
        expected = dict(_settings(other))
        for attribute, value in _settings(module):
            if attribute not in expected or value != expected[attribute]:
                raise InputError(
                    f"{place}.{attribute} is {value}, but the config builds {expected.get(attribute)}: give the "
                    f"config {attribute}: {value}, or set it when the model is built"
                )
    if theirs:
        raise InputError(f"the config builds {name}.{next(iter(theirs))}, which the model does not have")


def _settings(module: nn.Module) -> Iterator[tuple[str, Any]]:
    """The arguments of the constructor that a module keeps under their names, as plain values."""
    weights = module.state_dict(keep_vars=True)
    for name in inspect.signature(type(module)).parameters:
        value = getattr(module, name, None)
        if name in weights or isinstance(value, nn.Module) or callable(value):
            continue
        settled = plain(value)
        if settled is not None or value is None:
            yield name, settled
