"""Which rows of two layers are of the same class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class MatchedNames:
    """The rows that a layer takes from another.

    Args:
        pairs: a row of the layer, and the row of the same class or keypoint of the other.
        kept: names of these; empty if they are matched by number.
        new: names without a row in the other.
        left: how many rows of the other are not taken.
        by_number: the names are not known, and the rows are as many.
    """

    pairs: list[tuple[int, int]]
    kept: list[str]
    new: list[str]
    left: int
    by_number: bool = False


def match_names(own: Sequence[str], given: Sequence[str], own_count: int, given_count: int) -> MatchedNames | None:
    """The rows of a layer of `own_count` classes named `own` that one of `given_count` named `given` has too.

    Where names are not known on either side, rows as many are matched by number, and others not at all. None if the
    names are not as many as the rows: the layers are of other kinds.
    """
    if any(names and len(names) != count for names, count in ((own, own_count), (given, given_count))):
        return None
    if not own or not given:
        same = own_count == given_count
        pairs = [(index, index) for index in range(own_count)] if same else []
        new = [] if same else list(own) or [str(index) for index in range(own_count)]
        return MatchedNames(pairs, [], new, 0 if same else given_count, by_number=same)
    rows = {name: index for index, name in reversed(list(enumerate(given))) if name}
    pairs = [(index, rows[name]) for index, name in enumerate(own) if name in rows]
    kept = [own[index] for index, _ in pairs]
    new = [name for name in own if name and name not in rows]
    return MatchedNames(pairs, kept, new, len(rows) - len({row for _, row in pairs}))
