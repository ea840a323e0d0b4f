"""The files and commands on the pages of docs/extend."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "extend"
_FENCED = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_NAME = re.compile(r"(?:#|//) ([\w/]+\.\w+)\n")


def files_of(page: str) -> dict[str, str]:
    """The blocks of a page that name their file in the first line, by that name."""
    texts = [text for _, text in _FENCED.findall((FOLDER / page).read_text())]
    return {name[1]: text for text in texts if (name := _NAME.match(text))}


def commands_of(page: str) -> list[list[str]]:
    """The commands of a page's shell blocks, in words."""
    texts = [text for language, text in _FENCED.findall((FOLDER / page).read_text()) if language == "sh"]
    return [shlex.split(line) for text in texts for line in text.splitlines()]


def write_files(folder: Path, *pages: str) -> None:
    """Write the files of some pages into `folder`."""
    for page in pages:
        for name, text in files_of(page).items():
            path = folder / name
            path.parent.mkdir(exist_ok=True, parents=True)
            path.write_text(text)
