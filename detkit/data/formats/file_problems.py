"""Report the faults that a reader has collected from the files of a data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detkit.errors import InputError


def raise_problems(problems: Sequence[str], source: Path) -> None:
    """Raise an `InputError` with the first of the problems, if there are any."""
    if problems:
        others = f" (and {len(problems) - 1} other problems in {source})" if len(problems) > 1 else ""
        raise InputError(f"{problems[0]}{others}; correct it, or list all with detkit convert")
