"""What a recorded config consists of: mappings, lists, words, numbers and truth values, none without measure."""

from __future__ import annotations

from typing import Any

from detkit.errors import InputError

MOST_LEVELS = 64
MOST_VALUES = 300_000
MOST_ID = 2**63
MOST_SIZE = 2**31
"""Bounds that no record of a model comes near to."""


def check_plain(value: Any, name: str, most: int = MOST_ID) -> None:
    """Refuse what a config cannot hold: other objects, keys that are no words, endless nesting, huge integers.

    Args:
        value: mappings and lists of plain values.
        name: of the value, for messages.
        most: the largest integer.

    Raises:
        InputError: it names the part by its dotted key.
    """
    level, count = [(name, value)], 0
    for _ in range(MOST_LEVELS):
        inside: list[tuple[str, Any]] = []
        for key, one in level:
            inside += _parts(key, one, most)
            if count + len(inside) > MOST_VALUES:
                raise InputError(f"{name} holds more values than a config can.")
        if not inside:
            return
        level, count = inside, count + len(inside)
    raise InputError(f"{name} is nested too deeply.")


def _parts(name: str, value: Any, most: int) -> list[tuple[str, Any]]:
    """The values inside of a mapping or list, by dotted names."""
    if isinstance(value, dict):
        for key in value:
            if not isinstance(key, str):
                raise InputError(f"{name} has the key {str(key)[:40]!r}, which is no text.")
        return [(f"{name}.{key}", one) for key, one in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"{name}[{index}]", one) for index, one in enumerate(value)]
    if value is None or isinstance(value, (str, bool, float)):
        return []
    if not isinstance(value, int):
        raise InputError(f"{name} is a {type(value).__name__}, which is no plain value.")
    if abs(value) > most:
        raise InputError(f"{name} is a number beyond {most.bit_length() - 1} bits.")
    return []
