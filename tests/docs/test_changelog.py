"""CHANGELOG.md maps every old name to one that exists, and lists all renamed names and arguments."""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from test_architecture import resolved

from detkit.deprecation import OldName
from detkit.deprecation.moved_modules import MOVED
from detkit.deprecation.renamed_arguments import RENAMED_ARGUMENTS
from detkit.deprecation.renamed_names import RENAMED_NAMES

TEXT = (Path(__file__).resolve().parents[2] / "CHANGELOG.md").read_text()
_ROW = re.compile(r"^\| `(detkit\.[\w.]+)` \| `(detkit\.[\w.]+)` \|$", re.MULTILINE)


def rows_of(heading: str) -> dict[str, str]:
    """The new names by the old ones, of the tables under a heading."""
    return dict(_ROW.findall(TEXT.split(f"### {heading}\n")[1].split("\n### ")[0]))


MODULES = rows_of("Modules that moved")
NAMES = rows_of("Renamed functions, classes and constants")


def warned(name: str) -> tuple[Any, list[str]]:
    """What a dotted name leads to, and the warnings of old names on the way."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        value = resolved(name)
    return value, [str(one.message) for one in caught if issubclass(one.category, OldName)]


def renamed() -> Iterator[str]:
    """All old names of the table in `detkit.deprecation`."""
    for module, names in RENAMED_NAMES.items():
        yield from (f"detkit.{module}.{name}" for name in names)


class TestModules:
    @pytest.mark.parametrize("old", MODULES)
    def test_moved_as_listed(self, old):
        assert f"detkit.{MOVED[old.removeprefix('detkit.')]}" == MODULES[old]


class TestNames:
    @pytest.mark.parametrize("old", NAMES)
    def test_old_name_leads_to_the_new_one_with_a_warning(self, old):
        new, unexpected = warned(NAMES[old])
        value, messages = warned(old)
        assert value is new
        assert messages
        assert not unexpected

    def test_all_renamed_ones_are_listed(self):
        assert not set(renamed()) - NAMES.keys()


class TestArguments:
    @pytest.mark.parametrize("owner", RENAMED_ARGUMENTS)
    def test_all_renamed_ones_are_listed(self, owner):
        for old in RENAMED_ARGUMENTS[owner]:
            assert f"`{owner}({old}=…)`" in TEXT
