"""What values in JSON files are."""

from __future__ import annotations

import math
from typing import Any


def is_numbers(values: Any, count: int | None = None) -> bool:
    """Whether `values` is a list of finite numbers, of `count` if given."""
    return (
        isinstance(values, list)
        and (count is None or len(values) == count)
        and set(map(type, values)) <= {int, float}
        and all(map(math.isfinite, values))
    )
