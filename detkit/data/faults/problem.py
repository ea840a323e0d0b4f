"""A fault of a data set: what it is, where, how often, and what to do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Level = Literal["error", "warning", "note"]
"""An error stops a training, a warning harms it, a note is good to know."""

LEVELS: tuple[Level, ...] = ("error", "warning", "note")
"""The worst first."""

MOST_EXAMPLES = 100


@dataclass(frozen=True)
class Sign:
    """What looks wrong about all annotations of a data set.

    Args:
        what: it is.
        advice: what to do.
    """

    what: str
    advice: str

    def __str__(self) -> str:
        """Both in a sentence."""
        return f"{self.what}; {self.advice}"


@dataclass(frozen=True)
class Problem:
    """A fault, with all places that have it.

    Args:
        name: of the kind of fault, in lowercase letters and underscores.
        level: how bad it is.
        split: where it is; several are joined by a comma.
        count: the number of images, objects, files or classes that have it.
        sentence: what is wrong, with the count.
        advice: what to do.
        examples: the first of them, by file or id, at most 100.
        objects: of each example the positions of the objects in the split, for drawings; empty where it has none.
    """

    name: str
    level: Level
    split: str
    count: int
    sentence: str
    advice: str
    examples: Sequence[str] = ()
    objects: Sequence[Sequence[int]] = ()

    def entry(self) -> dict[str, Any]:
        """The fault for a JSON file."""
        keys = ("name", "level", "split", "count", "sentence", "advice")
        return {**{key: getattr(self, key) for key in keys}, "examples": list(self.examples)}


def counted(count: int, one: str, several: str | None = None) -> str:
    """A number with its noun: ``1 box is``, ``3 boxes are``."""
    return f"{count} {one if count == 1 else several or f'{one}s'}"
