"""The page: all sections in one HTML file that loads nothing."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detkit.errors import InputError
from detkit.reporting.parts.rendering import asset, render
from detkit.reporting.section import Section


@dataclass(frozen=True)
class Page:
    """A report.

    Args:
        title: what it is about.
        subtitle: a line under it, such as the data.
        sections: in their order, each with a name of its own.
        made: when it was made, and by what.
    """

    title: str
    subtitle: str
    sections: Sequence[Section]
    made: str = ""


def page_html(page: Page) -> str:
    """The page as one HTML document. Its policy allows its own script alone, and no request.

    Raises:
        InputError: two sections have one name.
    """
    names = [section.name for section in page.sections]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"two sections of the report are called {name!r}: give each a name of its own")
    script = asset("report.js") + asset("mesh_viewer.js")
    return render(
        "page.html",
        page=page,
        summary=[section.summary for section in page.sections if section.summary],
        style=Markup(asset("report.css")),
        script=Markup(script),
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )
