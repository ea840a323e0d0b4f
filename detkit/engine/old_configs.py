"""Recipes of before: keys that have another name or place now are read as what they have become, with a warning.

A rule takes a recipe as nested dictionaries, changes it in place, and warns of each old key that it has found. Command
lines have a table of their own, since an argument stands by itself.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from detkit.data.old_flags import FLAGS
from detkit.deprecation import warn

Rule = Callable[[dict[str, Any]], None]


def masks_and_keypoints(recipe: dict[str, Any]) -> None:
    """``data.with_masks`` and ``data.with_keypoints`` are a part of ``data.reads``."""
    data = recipe.get("data")
    if not isinstance(data, dict):
        return
    for flag, name in FLAGS.items():
        if flag in data:
            warn(f"data.{flag} is not needed: what the model learns is read; for more give data.reads: [{name}]")
            if data.pop(flag) and name not in (data.get("reads") or ()):
                data["reads"] = [*(data.get("reads") or ()), name]


RULES: tuple[Rule, ...] = (masks_and_keypoints,)

ARGUMENTS = {f"--data.{flag}": ("--data.reads+", name) for flag, name in FLAGS.items()}
"""Of each old switch on the command line the option that adds to a list, and what it adds where the switch is on."""


def renew(recipe: dict[str, Any]) -> dict[str, Any]:
    """`recipe` with the keys of today; changed in place, and given back."""
    for rule in RULES:
        rule(recipe)
    return recipe


@contextmanager
def renewed(argv: Sequence[str]) -> Iterator[list[str]]:
    """The command line with the keys of today, in its options and in the config files that it names."""
    with tempfile.TemporaryDirectory(prefix="detkit-config-") as folder:
        yield _renewed_files(_renewed_options(list(argv)), Path(folder))


def _renewed_options(argv: list[str]) -> list[str]:
    new: list[str] = []
    arguments = iter(argv)
    for argument in arguments:
        option, has_value, value = argument.partition("=")
        if option not in ARGUMENTS:
            new.append(argument)
            continue
        value = value if has_value else next(arguments, "true")
        adding, name = ARGUMENTS[option]
        warn(f"{option} is not needed: what the model learns is read; for more give {adding} {name}")
        if str(yaml.safe_load(value)).lower() not in ("false", "none", "0"):
            new += [adding, name]
    return new


def _renewed_files(argv: list[str], folder: Path) -> list[str]:
    """The same with config files that hold old keys replaced by new ones of the same name."""
    new = list(argv)
    for at, argument in enumerate(argv):
        is_named = at > 0 and argv[at - 1] == "--config"
        if is_named or argument.startswith("--config="):
            path = _renewed_file(Path(argument.removeprefix("--config=")), folder / str(at))
            new[at] = str(path) if is_named else f"--config={path}"
    return new


def _renewed_file(path: Path, folder: Path) -> Path:
    try:
        recipe = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError):
        return path  # whose own reader says what is wrong
    if not isinstance(recipe, dict):
        return path
    before = yaml.safe_dump(recipe)
    after = yaml.safe_dump(renew(recipe), sort_keys=False)
    if yaml.safe_dump(recipe) == before:
        return path
    folder.mkdir()
    (folder / path.name).write_text(after, "utf-8")
    return folder / path.name
