"""Links between the pages have targets."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from page_blocks import PAGES

_LINK = re.compile(r"\]\(([^)\s]+)\)")
_FENCED = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)


def links_of(page: str) -> list[str]:
    """The targets of a page's links and images within the repository."""
    text = _FENCED.sub("", PAGES[page].read_text())
    return [target for target in _LINK.findall(text) if "://" not in target]


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)$", _FENCED.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_every_link_has_a_target(page: str):
    for link in links_of(page):
        path, _, anchor = link.partition("#")
        target = (PAGES[page].parent / path).resolve() if path else PAGES[page]
        assert target.exists(), f"{page} links to {link}"
        if anchor:
            assert anchor in anchors_of(target), f"{page} links to {link}"
