"""mkdocs.yml and docs/index.md list every page of docs/."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
PAGES = {path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")}


def pages_in(nav: Any) -> list[str]:
    """The pages of a navigation entry, in its order."""
    if isinstance(nav, str):
        return [nav]
    entries = nav.values() if isinstance(nav, dict) else nav
    return [page for entry in entries for page in pages_in(entry)]


def test_navigation_has_each_page_once():
    pages = pages_in(yaml.safe_load((ROOT / "mkdocs.yml").read_text())["nav"])
    assert sorted(pages) == sorted(PAGES)


def test_index_links_to_each_page():
    linked = set(re.findall(r"\]\(([\w/.-]+\.md)", (DOCS / "index.md").read_text()))
    assert linked >= PAGES - {"index.md"} | {"../README.md"}
