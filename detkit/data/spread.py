"""Some of many images, spread evenly."""

from __future__ import annotations

import numpy as np


def evenly_spread(count: int, most: int | None) -> list[int]:
    """At most `most` of the positions ``0..count-1``, ascending, the first and the last among them; None: all."""
    if most is None or most >= count:
        return list(range(count))
    return np.unique(np.linspace(0, count - 1, most).round().astype(int)).tolist()
