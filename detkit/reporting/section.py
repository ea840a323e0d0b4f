"""A section of the report page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup


@dataclass(frozen=True)
class Section:
    """A section of the page.

    Args:
        name: its anchor, in lowercase letters, digits and hyphens; no two sections share one.
        title: its heading.
        parts: what it shows, in order: what `detkit.reporting` makes, such as `data_table`.
        summary: a sentence about it for the top of the page; empty for none.
    """

    name: str
    title: str
    parts: Sequence[Markup]
    summary: str = ""
