"""Renamed constructor arguments: the old names are still accepted, for one release."""

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
    "ImagePyramid": {"trunk": "backbone"},
    "PooledClassifier": {"trunk": "backbone"},
    "Mosaic": {"centre": "center"},
    "StridedConvolutions": {"from_trunk": "from_backbone"},
}
"""By class name, from each old argument to the new one; for calls, configs and command-line options alike."""


def renamed_argument(owner: str, name: str) -> str | None:
    """The new name of an argument of a class; None if it was not renamed."""
    return RENAMED_ARGUMENTS.get(owner, {}).get(name)


def takes_old_names(init: Callable[P, R]) -> Callable[P, R]:
    """A decorator for an ``__init__`` that also accepts the old names of its arguments."""
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
