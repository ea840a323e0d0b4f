"""Pages of the site beside those of docs/: the repository's own, and one of the public names of each package.

mkdocs calls `on_files`, `on_config` and `on_page_markdown`: see mkdocs.yml.
"""

from __future__ import annotations

import ast
import posixpath
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
OF_THE_REPOSITORY = {
    "README.md": "about/readme.md",
    "ARCHITECTURE.md": "about/architecture.md",
    "CONTRIBUTING.md": "about/contributing.md",
    "CHANGELOG.md": "about/changelog.md",
    "MODEL_ZOO.md": "about/model_zoo.md",
}
_LINK = re.compile(r"\]\(([^)\s#]+)((?:#[^)\s]*)?)\)")


def api_pages() -> dict[str, str]:
    """The pages of public names, as Markdown by the module's name: of all modules that list them in ``__all__``, and of
    those that lie in detkit/ itself."""
    pages = {}
    for path in sorted((ROOT / "detkit").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        module = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        names = [f"{module}.{name}" for name in _public_names(path)]
        if not names and len(parts) == 2 and parts[-1] != "__init__":
            names = [module]
        if names:
            pages[module] = f"# {module}\n\n" + "".join(f"::: {name}\n\n" for name in names)
    return pages


def on_config(config: Any) -> Any:
    """Add the pages to the navigation."""
    api = [{module: f"api/{module}.md"} for module in api_pages()]
    about = [{name.removesuffix(".md").replace("_", " ").capitalize(): page} for name, page in _there().items()]
    for section in config["nav"]:
        section.get("Reference", []).extend([{"Python": api}] if "Reference" in section else [])
        section.get("Explanation", []).extend(about if "Explanation" in section else [])
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the pages to the site."""
    from mkdocs.structure.files import File

    for module, text in api_pages().items():
        files.append(File.generated(config, f"api/{module}.md", content=text))
    for name, page in _there().items():
        files.append(File.generated(config, page, content=(ROOT / name).read_text()))
    return files


def on_page_markdown(markdown: str, page: Any, config: Any, files: Any) -> str:
    """Point the links of a page to where the files of the repository are on the site, else to the repository."""
    at = {site: name for name, site in _there().items()}
    source = posixpath.dirname(at.get(page.file.src_uri, f"docs/{page.file.src_uri}"))

    def moved(match: re.Match[str]) -> str:
        link, anchor = match.groups()
        if "://" in link:
            return match[0]
        target = posixpath.normpath(posixpath.join(source, link))
        site = _there().get(target, target.removeprefix("docs/") if target.startswith("docs/") else None)
        if site is None:
            return f"]({config['repo_url']}/blob/main/{target}{anchor})"
        return f"]({posixpath.relpath(site, posixpath.dirname(page.file.src_uri) or '.')}{anchor})"

    return _LINK.sub(moved, markdown)


def _there() -> dict[str, str]:
    return {name: page for name, page in OF_THE_REPOSITORY.items() if (ROOT / name).exists()}


def _public_names(path: Path) -> list[str]:
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.Assign) and any(ast.unparse(target) == "__all__" for target in node.targets):
            return [name for name in ast.literal_eval(node.value) if not name.startswith("__")]
    return []
