"""Recipes on a command line: by name or path, first or after ``--config``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from detkit.errors import InputError
from detkit.recipes import recipe_path

_NAME_OR_PATH = re.compile(
    r"[^{}:\n]+"
)  # other values are settings in YAML, which jsonargparse takes in place of a file


_MODEL = ("--config", "--resume", "--model")
_ANSWERED_WITHOUT = ("help", "-h", "--print_config")
"""How arguments end that ask for an answer, not for a training."""


def check_has_recipe(argv: Sequence[str], command: str = "train") -> None:
    """Refuse a training of nothing.

    Args:
        argv: of ``detkit train``, after `with_recipe_files`.
        command: for the message.

    Raises:
        InputError: neither a recipe nor a run nor a model is named.
    """
    if not any(one.startswith(_MODEL) or one.endswith(_ANSWERED_WITHOUT) for one in argv):
        raise InputError(
            f"Name a recipe first: detkit {command} RECIPE --data.root my/folder. `detkit recipes` lists all recipes."
        )


def with_recipe_files(argv: Sequence[str]) -> list[str]:
    """The command line with the file of each recipe.

    Args:
        argv: of ``detkit train``. ``NAME …`` is ``--config NAME …``; a name after ``--config`` becomes a path.

    Raises:
        InputError: there is no such recipe.
    """
    named = bool(argv) and not argv[0].startswith("-")
    rest = [*(["--config"] if named else []), *argv]
    files: list[str] = []
    while rest:
        option, equals, value = rest.pop(0).partition("=")
        files.append(f"{option}{equals}{value}")
        if option == "--config" and (equals or rest):
            given = value if equals else rest.pop(0)
            path = str(recipe_path(given)) if _NAME_OR_PATH.fullmatch(given) else given
            files[-1:] = [f"{option}={path}"] if equals else [option, path]
    return files
