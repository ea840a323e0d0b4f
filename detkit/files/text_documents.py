"""Reading text files line by line, and the numbers and flags in them."""

from __future__ import annotations

import json
import math
from pathlib import Path

from detkit.errors import InputError
from detkit.files.file_bytes import read_bytes

_FLAGS = {"0": False, "false": False, "no": False, "1": True, "true": True, "yes": True}


def read_lines(path: str | Path) -> list[tuple[int, str]]:
    """The lines of a text file that are not blank, each with its number from 1 and without spaces around it.

    The text is in UTF-8, UTF-16 or UTF-32, with or without a byte order mark; line ends are those of any system.

    Raises:
        InputError: it cannot be read, or is no text.
    """
    text = decoded(read_bytes(path, "a text file"), str(path)).replace("\r\n", "\n").replace("\r", "\n")
    lines = enumerate(map(str.strip, text.split("\n")), start=1)
    return [(number, line) for number, line in lines if line]


def decoded(content: bytes, name: str) -> str:
    """The text of a file in UTF-8, UTF-16 or UTF-32; messages say `name`.

    Raises:
        InputError: it is in another encoding, or is no text.
    """
    try:
        text = content.decode(json.detect_encoding(content)).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise InputError(f"{name}: this is no text in UTF-8; save it in that encoding") from None
    if "\0" in text:
        raise InputError(f"{name}: this is no text file, it has null characters")
    return text


def numbers_in(text: str) -> list[float] | None:
    """The numbers of a text that spaces separate, NaN and infinities among them; None where one is no number."""
    if "_" in text or not text.isascii():  # which Python would take: 1_000
        return None
    try:
        return list(map(float, text.split()))
    except ValueError:
        return None


def number_in(text: str) -> float | None:
    """The finite number that a text is; None where it is none."""
    numbers = numbers_in(text)
    return numbers[0] if numbers and len(numbers) == 1 and math.isfinite(numbers[0]) else None


def whole_number_in(text: str) -> int | None:
    """The whole number that a text is, such as ``2`` or ``2.0``; None where it is none."""
    number = number_in(text)
    return int(number) if number is not None and number == int(number) else None


def flag_in(text: str) -> bool | None:
    """The truth value that a text is: 0 or 1, false or true, no or yes; None where it is none."""
    return _FLAGS.get(text.lower())
