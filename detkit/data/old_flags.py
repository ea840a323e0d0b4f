"""The deprecated flags ``with_masks`` and ``with_keypoints``, which `reads` replaces."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar

from detkit.deprecation import warn

Function = TypeVar("Function", bound=Callable[..., Any])

FLAGS = {"with_masks": "masks", "with_keypoints": "keypoints"}
"""The field of targets that each flag requested."""


def takes_old_flags(position: int, flags: tuple[str, ...] = tuple(FLAGS)) -> Callable[[Function], Function]:
    """A decorator that lets a function with the argument `reads` take the old flags too, with a warning.

    Args:
        position: of `reads` and formerly of the flags, counted from 0 with ``self``.
        flags: the old flags, in order.
    """

    def decorate(function: Function) -> Function:
        name = function.__qualname__.removesuffix(".__init__")

        @functools.wraps(function)
        def wrapped(*arguments: Any, **options: Any) -> Any:
            given = list(arguments)
            old = {flag: options.pop(flag) for flag in flags if flag in options}
            for flag in flags:
                if len(given) > position and isinstance(given[position], bool):
                    old[flag] = given.pop(position)
            if old:
                fields = [FLAGS[flag] for flag, is_set in old.items() if is_set]
                warn(f"{name}({', '.join(old)}) is {name}(reads={fields}) now")
                _add(given, options, fields, position)
            return function(*given, **options)

        # The type of the function stays, although old positional flags are taken as well.
        return wrapped  # type: ignore[return-value]

    return decorate


def _add(given: list[Any], options: dict[str, Any], fields: list[str], position: int) -> None:
    """Add `fields` to the argument `reads`."""
    if len(given) > position:
        given.insert(position, fields)
    else:
        options["reads"] = [*(options.get("reads") or ()), *fields]
