"""The help of ``detkit train``, recorded: its parser needs torch and Lightning, whose import takes seconds.

``tools/record_help.py`` writes ``train.txt`` anew. It is used where the packages that its text depends on have the
versions of then.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FILE = Path(__file__).with_name("train.txt")
PACKAGES = ("lightning", "jsonargparse")
"""Packages whose constructors and formats are in the help."""


def recorded_help(argv: Sequence[str]) -> str | None:
    """The help that a command line asks for; None where it asks for something else, or the record is of other versions.

    Args:
        argv: of ``detkit train``: ``--help`` alone or after a recipe.
    """
    if argv[-1:] not in (["-h"], ["--help"]) or len(argv) > 2 or argv[0].startswith("--config"):
        return None
    versions, _, text = FILE.read_text(encoding="utf-8").partition("\n\n")
    return text if versions == versions_now() else None


def versions_now() -> str:
    """The versions of `PACKAGES`, as they begin the file."""
    try:
        return ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    except PackageNotFoundError:
        return ""
