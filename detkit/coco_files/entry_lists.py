"""`EntryList`: one list of a COCO file, read key by key and checked: ids, numbers, flags, text."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from numbers import Integral, Real
from typing import Any, NoReturn

import numpy as np

from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers, shown

Id = int | str

LARGEST = 1e15
"""Of numbers; products of two still fit into float32."""

LONGEST = 4096
"""Of ids and file names, in characters: numpy gives every row the memory of the longest."""

_PLURAL = {"image": "images", "annotation": "annotations", "category": "categories"}
_LONGEST_SHOWN = 300  # of ids in messages, which may hold the path of a file
_ODD_CHARACTERS = re.compile("[\x00-\x08\n-\x1f\x7f\x85\u2028\u2029\ud800-\udfff]")
_FLAGS = frozenset((0, 1, None))


@dataclass(frozen=True, eq=False)
class EntryList:
    """A list of a COCO file.

    Args:
        entries: its objects.
        kind: ``image``, ``annotation`` or ``category``.
        source: the path of the file, for messages.
        is_whole: whether `entries` are of the list in its order; else messages do not number them.
        start: the number of the first of them in the list.
    """

    entries: Sequence[Mapping[str, Any]]
    kind: str
    source: str
    is_whole: bool = True
    start: int = 0

    def __len__(self) -> int:
        return len(self.entries)

    def values(self, key: str) -> list[Any]:
        """The value of each entry; None where it is missing."""
        return [entry.get(key) for entry in self.entries]

    def name(self, row: int) -> str:
        """The name of an entry in messages."""
        image_id = self.entries[row].get("image_id")
        return (
            self.short_name(row)
            if image_id is None
            else f"{self.short_name(row)} of image {shown(image_id, _LONGEST_SHOWN)}"
        )

    def short_name(self, row: int) -> str:
        """As `name`, without its image."""
        own = self.entries[row].get("id")
        if own is not None:
            return f"{self.kind} {shown(own, _LONGEST_SHOWN)}"
        return f"{_PLURAL[self.kind]}[{self.start + row}]" if self.is_whole else f"an {self.kind} without id"

    def fail(self, row: int, what: str) -> NoReturn:
        """Raise the `InputError` that says what is wrong with an entry."""
        raise InputError(f"{self.source}: {self.name(row)} {what}")

    def ids(self, key: str) -> list[Id]:
        """The ids under a key that every entry must have."""
        values = self.values(key)
        return values if are_plain_ids(values) else [self._id(row, key, value) for row, value in enumerate(values)]

    def check_unique(self, ids: Sequence[Id | None]) -> None:
        """Raise where two entries have the same id; None: it has none."""
        first: dict[Id, int] = {}
        if len(set(ids)) == len(ids):
            return
        for row, one in enumerate(ids):
            if one is not None and first.setdefault(one, row) != row:
                number = len(ids) - len(set(ids))
                more = f" ({number} ids are repeated)" if number > 1 else ""
                raise InputError(
                    f"{self.source}: {self.kind} id {shown(one)} is used twice{more}; give every {self.kind} its own id"
                )

    def numbers(self, key: str) -> np.ndarray:
        """float64 ``(N,)`` the numbers under a key; NaN where it is missing or null."""
        values = self.values(key)
        if set(map(type, values)) <= {int, float, type(None)}:
            try:
                numbers = np.array([np.nan if one is None else one for one in values], dtype=np.float64)
            except OverflowError:
                numbers = np.array([np.inf])
            # A NaN of the file itself looks like a missing number here.
            if not (np.abs(numbers) > LARGEST).any() and np.isnan(numbers).sum() == values.count(None):
                return numbers
        return np.array([self._number(row, key, one) for row, one in enumerate(values)], dtype=np.float64)

    def rows(self, key: str, width: int, advice: str) -> np.ndarray:
        """float64 ``(N, width)`` the lists of numbers under a key; NaN where one is missing, null or empty."""
        values = self.values(key)
        filler = [np.nan] * width
        filled = [one if one or one == 0 or one is False else filler for one in values]
        try:
            flat = list(chain.from_iterable(filled))
            is_plain = set(map(type, flat)) <= {int, float} and set(map(len, filled)) <= {width}
            table = np.array(flat if is_plain else [np.inf], dtype=np.float64)
        except (TypeError, OverflowError):
            table = np.array([np.inf])
        missing = sum(one is filler for one in filled)
        if not (np.abs(table) > LARGEST).any() and np.isnan(table).sum() == width * missing:
            return table.reshape(-1, width)
        rows = np.empty((len(values), width))
        for row, one in enumerate(filled):
            if one is not filler and not (is_finite_numbers(one, width) and max(map(abs, one)) <= LARGEST):
                self.fail(row, f"has {key} {shown(one)}; {advice}")
            rows[row] = one
        return rows

    def flags(self, key: str) -> np.ndarray:
        """bool ``(N,)`` the truth values under a key: true, false, 1 or 0; False where it is missing or null."""
        values = self.values(key)
        try:
            are_flags = _FLAGS.issuperset(values)
        except TypeError:  # a value that has no hash is no flag
            are_flags = False
        if not are_flags:
            for row, value in enumerate(values):
                if not (value is None or (isinstance(value, (Real, np.bool_)) and value in (0, 1))):
                    self.fail(row, f"has {key} {shown(value)}; it must be 0, 1, true or false")
        return np.array(values, dtype=object).astype(bool)

    def texts(self, key: str) -> list[str]:
        """The text under a key that every entry must have."""
        values = self.values(key)
        for row, value in enumerate(values):
            if value is None:
                self._miss(row, key)
            if not isinstance(value, str):
                self.fail(row, f"has {key} {shown(value)}, which is not a string")
            if not is_plain_text(value):
                self.fail(row, f"has {key} {shown(value)}, which no file can be called")
        return values

    def _id(self, row: int, key: str, value: Any) -> Id:
        if value is None:
            self._miss(row, key)
        plain = as_id(value)
        if plain is None:
            self.fail(row, f"has {key} {shown(value)}; an id is an integer of at most 64 bits or a string")
        return plain

    def _number(self, row: int, key: str, value: Any) -> float:
        if value is None:
            return float("nan")
        if not is_finite_numbers([value]) or not abs(value) <= LARGEST:
            self.fail(row, f"has {key} {shown(value)}, which is not a finite number; correct it or leave it out")
        return float(value)

    def _miss(self, row: int, key: str) -> NoReturn:
        name = self.short_name(row) if key != "id" else f"{_PLURAL[self.kind]}[{self.start + row}]"
        raise InputError(f"{self.source}: {name} has no '{key}'; add it to the file")


def are_plain_ids(values: Sequence[Any]) -> bool:
    """Whether all are integers of 64 bits, or all are strings."""
    kinds = set(map(type, values))
    if kinds == {int}:
        return bool(min(values) >= -(2**63) and max(values) < 2**63)
    return kinds <= {str} and all(map(is_plain_text, values))


def as_id(value: Any) -> Id | None:
    """An id as an integer or a string; None where it is none. 7.0, as some programs write ids, is 7."""
    if isinstance(value, str):
        return str(value) if is_plain_text(value) else None
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, Real):
        return None
    if isinstance(value, Integral):
        whole = int(value)
        return whole if -(2**63) <= whole < 2**63 else None
    number = float(value)
    return int(number) if number.is_integer() and abs(number) <= 2**53 else None


def is_plain_text(value: str) -> bool:
    """Whether a text is one line that numpy keeps as it is and that can name a file."""
    return len(value) <= LONGEST and _ODD_CHARACTERS.search(value) is None
