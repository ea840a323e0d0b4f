"""The help of ``detkit train`` and ``eval``, recorded: their parsers need torch and Lightning, which load for seconds.

``tools/record_help.py`` writes the files anew. They are used where the packages that their text depends on have the
versions of then.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(__file__).parent
PACKAGES = ("lightning", "jsonargparse")
"""Packages whose constructors and formats are in the help."""

PARSERS = {
    "train": ("detkit.engine.commands.train", "train_parser"),
    "eval": ("detkit.engine.commands.evaluate", "evaluation_parser"),
}
"""The commands whose help is recorded, with module and function that make their parsers."""


def recorded_help(command: str, argv: Sequence[str]) -> str | None:
    """The help that a command line asks for; None where it asks for something else, or the record is of other versions.

    Args:
        command: one of `PARSERS`.
        argv: its arguments: ``--help`` alone or, of ``train``, after a recipe.
    """
    most = 2 if command == "train" else 1
    if argv[-1:] not in (["-h"], ["--help"]) or len(argv) > most or argv[0].startswith("--config"):
        return None
    versions, _, text = help_file(command).read_text(encoding="utf-8").partition("\n\n")
    return text if versions == versions_now() else None


def help_file(command: str) -> Path:
    """The file of a command: the versions, an empty line, the help."""
    return FOLDER / f"{command}.txt"


def versions_now() -> str:
    """The versions of `PACKAGES`, as they begin the files."""
    try:
        return ", ".join(f"{package} {version(package)}" for package in PACKAGES)
    except PackageNotFoundError:
        return ""
