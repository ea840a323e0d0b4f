"""Parsing darknet's ``.cfg`` files, which describe a network by a section for each layer."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, field
from difflib import get_close_matches
from pathlib import Path

from detkit.errors import InputError
from detkit.files import read_bytes, write_whole
from detkit.files.json_values import shortened

LARGEST = 1_000_000
"""No number of a cfg that is read here is larger; those of published networks are at most 10,000."""

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", re.ASCII)


@dataclass(frozen=True)
class Section:
    """One ``[kind]`` and the ``key=value`` lines below it.

    Args:
        file: its name, for messages.
        kind: the name in the brackets.
        line: of the brackets, from 1.
        index: number of the layer as darknet counts them, from 0; -1 for ``[net]``.
        options: the value of each key and its line. Of a key given twice the first counts, as in darknet.
        asked: the keys that were read so far.
    """

    file: str = field(compare=False)
    kind: str
    line: int
    index: int
    options: dict[str, tuple[str, int]]
    asked: set[str] = field(default_factory=set, compare=False)

    @property
    def name(self) -> str:
        """Number and kind of the layer, for messages."""
        kind = f"[{shortened(self.kind)}]"
        return f"layer {self.index} {kind}" if self.index >= 0 else kind

    def error(self, message: str, key: str | None = None) -> InputError:
        """An error that names file, line and layer; the line is that of `key` if given."""
        line = self.options[key][1] if key in self.options else self.line
        return InputError(_printable(f"{self.file}, line {line}, {self.name}: {message}"))

    def text(self, key: str, default: str = "") -> str:
        """The value of `key` as written."""
        self.asked.add(key)
        return self.options[key][0] if key in self.options else default

    def choice(self, key: str, default: str, known: Collection[str]) -> str:
        """The value of `key`, one of `known`, or `default` if it is missing."""
        value = self.text(key, default)
        if value not in known:
            raise self.error(f"{key} {shortened(value)!r} is not one of {', '.join(known)}", key)
        return value

    def number(self, key: str, default: float, least: float = -LARGEST, most: float = LARGEST) -> float:
        """The value of `key` as a finite number from `least` to `most`, or `default` if it is missing."""
        value = self.text(key)
        return self._parsed(key, value, least, most) if key in self.options else default

    def integer(self, key: str, default: int, least: int = -LARGEST, most: int = LARGEST) -> int:
        """The value of `key` as an integer from `least` to `most`, or `default` if it is missing."""
        return self._whole(key, self.number(key, default, least, most))

    def numbers(self, key: str, least: float = -LARGEST) -> list[float]:
        """The comma-separated numbers of `key`, finite and not below `least`; none if it is missing."""
        return [self._parsed(key, value, least, LARGEST) for value in self.text(key).split(",") if value]

    def integers(self, key: str) -> list[int]:
        """The comma-separated integers of `key`; none if it is missing."""
        return [self._whole(key, value) for value in self.numbers(key)]

    def positive(self, key: str, default: int, most: int = LARGEST) -> int:
        """The value of `key` as an integer from 1 to `most`, or `default` if it is missing."""
        return self.integer(key, default, 1, most)

    def anchors(self) -> list[tuple[float, float]]:
        """The widths and heights of ``anchors``.

        Raises:
            InputError: a number has no partner, or is not positive.
        """
        sides = self.numbers("anchors", least=0)
        if len(sides) % 2 or not all(sides):
            raise self.error(f"anchors must be pairs of positive numbers, got {len(sides)} numbers", "anchors")
        return list(zip(sides[::2], sides[1::2], strict=True))

    def layers(self, key: str) -> list[int]:
        """Indices of earlier layers; in the file, negative ones count back from this layer."""
        given = self.integers(key)
        if not given:
            raise self.error(f"{key} must name the layers to take from, e.g. {key}=-2")
        absolute = [index if index >= 0 else self.index + index for index in given]
        for index, number in zip(absolute, given, strict=True):
            if not 0 <= index < self.index:
                raise self.error(f"{key}={number} is no earlier layer", key)
        return absolute

    def refuse(self, *keys: str) -> None:
        """Raise InputError if one of `keys` requests an unsupported feature."""
        for key in keys:
            if self.number(key, 0) != 0:
                raise self.error(f"{key}={shortened(self.text(key))} is not supported", key)

    def misspelled(self) -> str | None:
        """A warning of an unused key that resembles one that is used; None without any."""
        for key in self.options:
            meant = get_close_matches(key, self.asked, n=1, cutoff=0.88) if key not in self.asked else []
            if meant and meant[0] not in self.options:
                return str(self.error(f"{shortened(key)} is not read; is {meant[0]} meant?", key))
        return None

    def _parsed(self, key: str, value: str, least: float, most: float) -> float:
        """The one reader of numbers: as C writes them, finite and in the bounds."""
        if not _NUMBER.fullmatch(value):
            raise self.error(f"{key}={shortened(self.text(key))}: {shortened(value)!r} is not a number", key)
        number = float(value)
        if not least <= number <= most:
            bound = f"at least {least}" if number < least else f"at most {most}"
            raise self.error(f"{key} must be {bound}, got {shortened(value)}", key)
        return number

    def _whole(self, key: str, value: float) -> int:
        if value != int(value):
            raise self.error(f"{key}={shortened(self.text(key))} must be whole", key)
        return int(value)


def _printable(message: str) -> str:
    """`message` without bytes that are no text, which no terminal prints."""
    return message.encode("utf-8", "backslashreplace").decode("utf-8")


def parse_cfg(text: str, file: str) -> list[Section]:
    """The sections of a cfg, ``[net]`` first.

    ``#`` and ``;`` start comments, also after a value; white space is ignored.

    Raises:
        InputError: a line is neither a section nor ``key=value``, or the file does not start with ``[net]``.
    """
    sections: list[Section] = []
    for number, written in enumerate(text.splitlines(), start=1):
        line = re.split("[#;]", re.sub(r"\s|\0|\ufeff", "", written))[0]
        if line.startswith("["):
            if not line.endswith("]"):
                raise InputError(f"{file}, line {number}: {shortened(written.strip())!r} must end in ]")
            sections.append(Section(file, line[1:-1], number, len(sections) - 1, {}))
        elif line:
            key, equals, value = line.partition("=")
            if not equals or not key or not sections:
                raise InputError(
                    f"{file}, line {number}: {shortened(written.strip())!r} must be key=value below a [section]"
                )
            sections[-1].options.setdefault(key, (value, number))
    if len(sections) < 2 or sections[0].kind not in ("net", "network"):
        raise InputError(f"{file} must start with [net], followed by a section for each layer")
    return sections


def read_text(path: str | Path) -> str:
    """The text of the cfg file `path`, with any line endings and encoding; InputError if it cannot be read."""
    return read_bytes(path, "a cfg file").decode("utf-8", "surrogateescape")


def write_text(path: str | Path, text: str) -> None:
    """Write a text from `read_text` whole, byte for byte; InputError if that fails."""
    write_whole(path, text.encode("utf-8", "surrogateescape"))
