"""ARCHITECTURE.md and CONTRIBUTING.md name what there is, and rooms import in the order of the table."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("ARCHITECTURE.md", "CONTRIBUTING.md")
_CODE = re.compile(r"`([^`\n]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")


def code_of(page: str) -> list[str]:
    """What stands between backticks on a page, fenced blocks aside."""
    text = re.sub(r"^```.*?^```", "", (ROOT / page).read_text(), flags=re.DOTALL | re.MULTILINE)
    return _CODE.findall(text)


def resolved(name: str) -> Any:
    """What a dotted name leads to."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = importlib.import_module(".".join(parts[:end]))
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(name)


@pytest.mark.parametrize("page", PAGES)
class TestNames:
    def test_every_dotted_name_exists(self, page):
        names = [one for one in code_of(page) if re.fullmatch(r"(?:detkit|torch)(?:\.\w+)+", one)]
        assert names
        for name in names:
            if not name.startswith("torch.ops"):
                assert resolved(name) is not None

    def test_every_path_exists(self, page):
        for one in code_of(page):
            for path in re.findall(r"(?:detkit|csrc|tests|tools|docs|configs)/[\w/.]*", one):
                assert (ROOT / path).exists(), path
        for link in _LINK.findall((ROOT / page).read_text()):
            assert (ROOT / link).exists(), link

    def test_no_name_is_deprecated(self, page, recwarn):
        for name in code_of(page):
            if re.fullmatch(r"detkit(?:\.\w+)+", name):
                resolved(name)
        assert not [one for one in recwarn if one.category is DeprecationWarning and "detkit" in str(one.message)]


class TestRooms:
    def test_each_is_in_the_table_once(self):
        rooms = {path.stem for path in (ROOT / "detkit").iterdir() if path.suffix == ".py" or path.is_dir()}
        rooms -= {"__init__", "__pycache__"}
        assert sorted(rooms) == sorted(room for floor in floors() for room in floor)

    def test_import_only_from_those_above(self):
        above: set[str] = set()
        for floor in floors():
            for room in floor:
                wrong = {imported for imported in imports_of(room)} - above - set(floor)
                assert not wrong, f"detkit/{room} imports {sorted(wrong)}, which stand below it in ARCHITECTURE.md"
            above |= set(floor)


def floors() -> list[list[str]]:
    """The rooms of the table, row by row."""
    rows = re.findall(r"^\| (`detkit/[^|]*) \|", (ROOT / "ARCHITECTURE.md").read_text(), re.MULTILINE)
    return [[Path(name).stem for name in _CODE.findall(row)] for row in rows]


def imports_of(room: str) -> set[str]:
    """The other rooms that a room imports when it is imported itself."""
    path = ROOT / "detkit" / room
    files = path.rglob("*.py") if path.is_dir() else [path.with_suffix(".py")]
    modules = [module for file in files for module in imported_modules(ast.parse(file.read_text()))]
    return {module.split(".")[1] for module in modules if "." in module} - {room, "__version__"}


def imported_modules(node: ast.AST) -> Iterator[str]:
    """The modules of detkit that code imports outside of functions and of TYPE_CHECKING."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            continue
        if isinstance(child, ast.ImportFrom) and child.module and child.module.split(".")[0] == "detkit":
            whole = child.module == "detkit"
            yield from [f"detkit.{alias.name}" for alias in child.names] if whole else [child.module]
        elif isinstance(child, ast.Import):
            yield from [alias.name for alias in child.names if alias.name.startswith("detkit.")]
        else:
            yield from imported_modules(child)
