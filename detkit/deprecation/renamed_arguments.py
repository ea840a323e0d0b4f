"""Arguments of constructors that have other names now: the old ones are taken still, for one release."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import ParamSpec, TypeVar

from detkit.deprecation import warn

P = ParamSpec("P")
R = TypeVar("R")

RENAMED_ARGUMENTS: Mapping[str, Mapping[str, str]] = {
    "CocoEvaluation": {"found": "detections"},
    "Mosaic": {"centre": "center"},
}
"""By the name of a class, of each old argument the name that it has now; for calls, configs and options alike."""


def renamed_argument(owner: str, name: str) -> str | None:
    """The name that an argument of a class has now; None if it has not got another one."""
    return RENAMED_ARGUMENTS.get(owner, {}).get(name)


def takes_old_names(init: Callable[P, R]) -> Callable[P, R]:
    """A decorator of an ``__init__`` that takes the old names of its arguments too."""
    owner = init.__qualname__.rpartition(".")[0]
    names = RENAMED_ARGUMENTS[owner]
    unknown = set(names.values()) - inspect.signature(init).parameters.keys()
    if unknown:
        raise TypeError(f"{owner} has no arguments {sorted(unknown)}")

    @functools.wraps(init)
    def renamed(*args: P.args, **keywords: P.kwargs) -> R:
        for name in names.keys() & keywords.keys():
            warn(f"{owner}({name}=...) is {owner}({names[name]}=...) now", stacklevel=3)
            keywords[names[name]] = keywords.pop(name)
        return init(*args, **keywords)

    return renamed
