"""The templates of the page, whose texts are escaped, and JSON within HTML."""

from __future__ import annotations

import functools
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from detkit.files import json_text


@functools.cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("detkit.reporting", "assets"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["as_json"] = json_in_html
    return environment


def render(template: str, **values: Any) -> Markup:
    """A template of ``assets/`` with `values`, which are escaped unless they are `Markup`."""
    return Markup(_environment().get_template(template).render(**values))


def asset(name: str) -> str:
    """The text of a file of ``assets/``."""
    environment = _environment()
    if environment.loader is None:
        raise ValueError("the templates have no loader")
    return environment.loader.get_source(environment, name)[0]


def json_in_html(content: Any) -> Markup:
    """Content as JSON for a ``<script type="application/json">``, which nothing within it can end."""
    text = json_text(content)
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def paragraph(text: str) -> Markup:
    """A paragraph of text."""
    return Markup("<p>{}</p>").format(text)
