"""The folder of the recipes, in a checkout and in an installed wheel, and the recipe of a name."""

from __future__ import annotations

import re
from difflib import get_close_matches
from pathlib import Path

from detkit.errors import InputError
from detkit.files.listing import visible

_PACKAGE = Path(__file__).parents[1]
_NAME = re.compile(r"[\w-]+")  # as the files are named; anything else is a path


def recipe_folder() -> Path:
    """The folder of the recipes: ``detkit/configs`` of an installed wheel, else ``configs`` of the checkout."""
    installed = _PACKAGE / "configs"
    return installed if installed.is_dir() else _PACKAGE.parent / "configs"


def is_shipped(folder: Path) -> bool:
    """Whether `folder` holds the recipes of an installed wheel, beside which nobody keeps data."""
    return folder.absolute() == _PACKAGE / "configs"


def recipe_names() -> list[str]:
    """The names of all recipes, sorted."""
    return sorted(path.stem for path in visible(recipe_folder().glob("*.yaml")))


def recipe_path(name_or_path: str | Path) -> Path:
    """The file of a recipe, given by its name or by a path of a file of your own.

    A file of this path comes before a recipe of this name. ``configs/NAME.yaml`` is found as ``NAME`` where there is
    no such folder, as in an installation.

    Args:
        name_or_path: such as ``faster_rcnn_shapes`` or ``my/recipe.yaml``.

    Raises:
        InputError: there is neither a file nor a recipe; it names the nearest recipes.
    """
    path = Path(name_or_path)
    if path.exists():  # a folder too, of which the reader says what is wrong
        return path
    name = path.stem if path == Path("configs", f"{path.stem}.yaml") else str(name_or_path)
    recipe = recipe_folder() / f"{name}.yaml"
    if _NAME.fullmatch(name) and recipe.is_file():
        return recipe
    is_name = _NAME.fullmatch(str(name_or_path))
    what = f"There is no recipe {name_or_path}" if is_name else f"The file {name_or_path} does not exist"
    raise InputError(f"{what}{nearest(path.stem, recipe_names())} `detkit recipes` lists all recipes.")


def nearest(word: str, known: list[str]) -> str:
    """The end of a sentence that names what is close to `word`."""
    close = get_close_matches(word, known, n=3, cutoff=0.5) or [one for one in known if one.startswith(word)][:3]
    return f"; did you mean {' or '.join(close)}?" if close else "."
