"""The objects of a glTF document with their names, and the checks of their values."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers, shown


@dataclass(frozen=True)
class Entry:
    """A JSON object of a glTF document.

    Args:
        path: of the file, for messages.
        name: such as ``accessors[3]``; "" of the whole document.
        values: its content.
    """

    path: str | Path
    name: str
    values: Mapping[str, Any]

    def member(self, key: str, index: int) -> Entry:
        """One of a list of objects.

        Raises:
            InputError: there is no such list, or it has no such member.
        """
        members = self._list(key)
        if index >= len(members):
            raise InputError(
                f"{self.path}: {self._named(key)}[{index}] is used, and the file has {len(members)}; export it again"
            )
        return self._entry(f"{key}[{index}]", members[index])

    def members(self, key: str) -> list[Entry]:
        """All of a list of objects; empty where there is no list."""
        return [self._entry(f"{key}[{index}]", value) for index, value in enumerate(self._list(key))]

    def entry(self, key: str) -> Entry | None:
        """The object of that key; None where there is none."""
        return self._entry(key, self.values[key]) if key in self.values else None

    def whole(self, key: str, default: int | None = None, least: int = 0) -> int:
        """A whole number of at least `least`; without a `default`, the key must be there."""
        value = self.values.get(key, default)
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise self.wrong(key, f"a whole number, {least} or more")
        return value

    def wholes(self, key: str) -> list[int]:
        """A list of whole numbers, 0 or more; empty where there is none."""
        values = self._list(key)
        if any(isinstance(value, bool) or not isinstance(value, int) or value < 0 for value in values):
            raise self.wrong(key, "a list of whole numbers")
        return values

    def numbers(self, key: str, default: list[float]) -> list[float]:
        """As many finite numbers as the default has."""
        values = self.values.get(key, default)
        if not is_finite_numbers(values, len(default)):
            raise self.wrong(key, f"{len(default)} finite numbers")
        return list(values)

    def text(self, key: str, default: str) -> str:
        """A text."""
        value = self.values.get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, "a text")
        return value

    def texts(self, key: str) -> list[str]:
        """A list of texts; empty where there is none."""
        values = self._list(key)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "a list of texts")
        return values

    def wrong(self, key: str, expected: str) -> InputError:
        """The sentence of a value that is not what the format says."""
        value = f"is {shown(self.values[key], 40)}" if key in self.values else "is missing"
        return InputError(f"{self.path}: {self._named(key)} {value}, and should be {expected}; export the file again")

    def _list(self, key: str) -> list[Any]:
        values = self.values.get(key, [])
        if not isinstance(values, list):
            raise self.wrong(key, "a list")
        return values

    def _entry(self, key: str, value: Any) -> Entry:
        if not isinstance(value, Mapping):
            raise InputError(
                f"{self.path}: {self._named(key)} is {shown(value, 40)}, and should be an object; export the file again"
            )
        return Entry(self.path, self._named(key), value)

    def _named(self, key: str) -> str:
        return f"{self.name}.{key}" if self.name else key
