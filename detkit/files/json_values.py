"""Checks of values read from JSON files."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import Any, TypeGuard

_PLAIN = {int, float}


def is_finite_numbers(values: Any, count: int | None = None) -> TypeGuard[Sequence[float]]:
    """Whether `values` is a list of finite numbers, truth values excepted.

    Args:
        values: any value.
        count: the length that the list must have; None: any.
    """
    if (
        not isinstance(values, Sequence)
        or isinstance(values, (str, bytes))
        or (count is not None and len(values) != count)
    ):
        return False
    kinds = set(map(type, values))
    try:
        return (kinds <= _PLAIN or all(_is_number_type(kind) for kind in kinds)) and all(map(math.isfinite, values))
    except OverflowError:  # an integer of more than 308 digits
        return False


def shown(value: Any, most: int = 80) -> str:
    """A value as messages show it: on one line, of at most so many characters, without its middle if it is longer."""
    try:
        text = repr(value)
    except RecursionError:
        return f"a deeply nested {type(value).__name__}"
    except ValueError:  # an integer of more than 4300 digits
        return "a number of thousands of digits"
    return shortened(text, most)


def shortened(text: str, most: int = 80) -> str:
    """A text on one line, of at most so many characters, without its middle if it is longer."""
    text = " ".join(text.split())
    return text if len(text) <= most else f"{text[: most // 2]}...{text[3 - most // 2 :]}"


def _is_number_type(kind: type) -> bool:
    """numpy's numbers as well: content may come from Python instead of a file."""
    return kind is not bool and issubclass(kind, Real)
