"""`GraphChanges`: what differs in a graph itself, whatever it answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

MOST = 5
LEAST_WEIGHT = 64
"""A constant with fewer numbers, such as a threshold or a mean, is told before weights."""


class Change(NamedTuple):
    """One change.

    Args:
        sentence: what it is.
        numbers: how many numbers the constant has; 0 for a node.
    """

    sentence: str
    numbers: int = 0


@dataclass(frozen=True)
class GraphChanges:
    """What differs between the graph of a file and that of its checkpoint.

    Args:
        sentences: on each change, the most telling first.
        note: what could not be compared, and why; empty where all was.
    """

    sentences: tuple[str, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, changes: Iterable[Change], weights: int, note: str = "") -> GraphChanges:
        """The first of them in words, and how many there are more.

        Args:
            changes: of nodes, constants and weights.
            weights: how many weights were compared.
            note: as above.
        """
        found = list(dict.fromkeys(changes))
        large = [one for one in found if one.numbers >= LEAST_WEIGHT]
        if weights > 2 and len(large) > weights / 2:
            found = [one for one in found if one.numbers < LEAST_WEIGHT]
            words = f"{len(large)} of {weights} weights differ: they are of another checkpoint, or of another epoch"
            found = [Change(words), *found]
        ordered = sorted(found, key=lambda one: (one.numbers >= LEAST_WEIGHT, one.numbers))
        more = [f"… and {len(ordered) - MOST} more"] if len(ordered) > MOST else []
        return cls((*(one.sentence for one in ordered[:MOST]), *more), note)


def constant_change(words: str, given: np.ndarray, own: np.ndarray, limit: float | np.ndarray) -> Change | None:
    """How a constant differs by more than a limit; None where it does not.

    Args:
        words: what it is called.
        given: of the file.
        own: of the checkpoint.
        limit: as large as rounding may be, of all numbers or of each.
    """
    if given.shape != own.shape:
        return Change(f"{words} has the shape {given.shape} in place of {own.shape}")
    if own.dtype.kind not in "fiub" or not own.size:
        return None
    first, second = given.astype(np.float64), own.astype(np.float64)
    with np.errstate(invalid="ignore"):
        apart = np.where((first == second) | (np.isnan(first) & np.isnan(second)), 0.0, np.abs(first - second))
    differing = int((~(apart <= limit)).sum())
    if not differing:
        return None
    if own.size == 1:
        return Change(f"{words} is {first.item():g} in place of {second.item():g}", 1)
    return Change(f"{words} differs in {differing:,} of {own.size:,} numbers, by up to {apart.max():.3g}", own.size)


def rounding_of(values: np.ndarray, share: float) -> float:
    """A share of the largest number."""
    finite = np.abs(values.astype(np.float64, copy=False)) if values.size else np.zeros(1)
    return share * float(np.where(np.isfinite(finite), finite, 0).max())


def shown_numbers(values: Sequence[np.ndarray]) -> list[str]:
    """Constants in a few words."""
    return [np.array2string(value.squeeze(), threshold=4, edgeitems=2) for value in values]
