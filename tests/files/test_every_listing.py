"""Every listing of a folder leaves hidden files out: nothing but `detkit.files` looks into folders by itself."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "detkit"

LISTINGS = {"glob", "iglob", "iterdir", "listdir", "rglob", "scandir", "walk"}
GUARDS = {"visible", "visible_below"}

ALLOWED = {
    "data/conversion/convert_folder.py": "a folder is only replaced if all that it holds may go, hidden files too",
    "data/detection_dataset.py": "an annotation may name a hidden image, and then it is there",
    "data/maps/panoptic_maps.py": "an annotation may name a hidden PNG, and then it is there",
    "data/shapes/folder.py": "a folder is only replaced if all that it holds may go, hidden files too",
    "engine/run/run_folder.py": "the files of a run are named, not sought, and unfinished ones are hidden",
    "trust/inspection/image_problems.py": "an annotation may name a hidden image, and then it is there",
    "images/inputs.py": "as in a shell, no wildcard of the user's pattern matches a leading dot",
}
"""The files that list folders in another way, and why."""


def test_every_listing_leaves_hidden_files_out():
    files = [file for file in PACKAGE.rglob("*.py") if file.parent.name != "files"]
    unguarded = {file.relative_to(PACKAGE).as_posix(): lines for file in files if (lines := _unguarded(file))}
    assert {name: lines for name, lines in unguarded.items() if name not in ALLOWED} == {}
    assert sorted(ALLOWED.keys() - unguarded.keys()) == []


def _unguarded(file: Path) -> list[int]:
    """The lines of calls that list a folder and are no argument of a guard."""
    return sorted(set(_listings(ast.parse(file.read_text()), guarded=False)))


def _listings(node: ast.AST, guarded: bool) -> Iterator[int]:
    if isinstance(node, ast.Call):
        name = getattr(node.func, "attr", getattr(node.func, "id", ""))
        guarded |= name in GUARDS
        # `ast.walk` and the like list no folder.
        if name in LISTINGS and not guarded and (name != "walk" or ast.unparse(node.func) == "os.walk"):
            yield node.lineno
    for child in ast.iter_child_nodes(node):
        yield from _listings(child, guarded)
