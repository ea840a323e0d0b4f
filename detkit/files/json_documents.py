"""Reading JSON files, and JSON text that every program reads."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files.file_bytes import read_bytes


def read_json(path: str | Path) -> Any:
    """The content of a JSON file in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Raises:
        InputError: it cannot be read, or is not JSON.
    """
    return parse_json(read_bytes(path, "a JSON file"), str(path))


def parse_json(content: bytes, name: str) -> Any:
    """The value that a JSON text holds.

    Args:
        content: the text, in UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        name: of the file, for messages.

    Raises:
        InputError: it is not JSON.
    """
    try:
        return json.loads(content)
    except RecursionError:
        raise InputError(f"{name}: lists or objects are nested too deeply in this JSON file") from None
    except ValueError as error:  # not JSON, not in the encoding that its first bytes tell, or a number of 4300 digits
        raise InputError(f"{name}: this is not a whole JSON file ({error}); copy or export it again") from error


def json_text(content: Any, indent: int | None = None, ensure_ascii: bool = True) -> str:
    """The JSON text of plain values, and of single numbers of numpy and torch.

    Numbers that are not finite become null: JSON has no NaN, and most programs refuse a file with one.

    Args:
        content: lists, mappings, texts, numbers, truth values and None.
        indent: spaces for each level; None: everything on one line.
        ensure_ascii: escape all other characters.
    """
    try:
        return json.dumps(content, indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)
    except (TypeError, ValueError):
        return json.dumps(_plain(content), indent=indent, ensure_ascii=ensure_ascii, allow_nan=False)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if not isinstance(value, (str, int, float)) and hasattr(value, "item"):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
