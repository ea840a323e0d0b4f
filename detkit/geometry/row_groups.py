"""Images of a batch that are treated at once, since they have something in common, such as their size or placement."""

from __future__ import annotations

from collections.abc import Hashable, Iterable


def rows_alike(keys: Iterable[Hashable]) -> list[list[int]]:
    """The rows of each key, ascending, in the order in which keys first come.

    Args:
        keys: of each row, what it must have in common with others; a row of None belongs to no group.
    """
    groups: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        if key is not None:
            groups.setdefault(key, []).append(row)
    return list(groups.values())
