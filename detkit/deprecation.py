"""Old names, which still work for one release and say what to write instead."""

from __future__ import annotations

import importlib
import warnings
from collections.abc import Callable, Mapping
from typing import Any


def warn(message: str, stacklevel: int = 3) -> None:
    """Warn that something will go: one sentence that says what to write instead."""
    warnings.warn(message, DeprecationWarning, stacklevel=stacklevel)


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
