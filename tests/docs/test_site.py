"""The pages that tools/site_pages.py adds to the site: every public name is on one, and links lead somewhere."""

from __future__ import annotations

import importlib
import pkgutil
import re
from types import SimpleNamespace

import pytest
import site_pages

import detkit

MODULES = [f"detkit.{module.name}" for module in pkgutil.iter_modules(detkit.__path__) if module.name[0] != "_"]
API = site_pages.api_pages()


@pytest.mark.parametrize("module", ["detkit", *MODULES])
def test_each_public_name_is_on_the_page_of_its_package(module: str):
    imported = importlib.import_module(module)
    public = {f"{module}.{name}" for name in getattr(imported, "__all__", ()) if not name.startswith("__")}
    if not public and not hasattr(imported, "__path__"):
        public = {module}
    assert set(re.findall(r"^::: (\S+)$", API.get(module, ""), re.MULTILINE)) == public


def test_pages_name_what_exists():
    for module, text in API.items():
        names = re.findall(r"^::: (\S+)$", text, re.MULTILINE)
        assert names
        for name in names:
            assert name == module or hasattr(importlib.import_module(module), name.removeprefix(f"{module}.")), name


@pytest.mark.parametrize(
    ("page", "link", "on_the_site"),
    [
        ("index.md", "../README.md#detectors", "about/readme.md#detectors"),
        ("extend/head.md", "../../README.md", "../about/readme.md"),
        ("about/readme.md", "docs/extend/head.md#x", "../extend/head.md#x"),
        ("about/readme.md", "docs/images/views.jpg", "../images/views.jpg"),
        ("about/contributing.md", "CHANGELOG.md", "changelog.md"),
        ("training.md", "../configs/faster_rcnn_shapes.yaml", "https://host/blob/main/configs/faster_rcnn_shapes.yaml"),
        ("training.md", "https://pytorch.org/a.md", "https://pytorch.org/a.md"),
        ("training.md", "data.md", "data.md"),
    ],
)
def test_a_link_leads_to_its_page_on_the_site(page: str, link: str, on_the_site: str):
    file = SimpleNamespace(file=SimpleNamespace(src_uri=page))
    moved = site_pages.on_page_markdown(f"see [it]({link}).", file, {"repo_url": "https://host"}, None)
    assert moved == f"see [it]({on_the_site})."
