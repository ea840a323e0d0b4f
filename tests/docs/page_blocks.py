"""The fenced code blocks of README.md and of docs/, except docs/extend/."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
_FOLDERS = ("docs", "docs/tutorials", "docs/coming-from")
PAGES = {
    path.name: path
    for path in [ROOT / "README.md", *(path for folder in _FOLDERS for path in sorted((ROOT / folder).glob("*.md")))]
}
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
_FILE_NAME = re.compile(r"# ([\w/]+\.(?:py|yaml))\n")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        page: the file name of its page.
        line: of its first line.
        language: after the fence; empty if there is none.
        text: what is fenced.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def file(self) -> str | None:
        """The path in its first line, such as ``# my_package/tracks.py``; None if the block is no file."""
        name = _FILE_NAME.match(self.text)
        return name[1] if name else None

    def commands(self) -> list[str]:
        """The commands of a ``sh`` block, without comments and with continued lines joined."""
        lines = self.text.replace("\\\n", " ").split("\n")
        return [shlex.join(words) for line in lines if (words := shlex.split(line, comments=True))]


def blocks_of(page: str) -> list[Block]:
    """All blocks of a page, in its order."""
    text = PAGES[page].read_text()
    return [Block(page, text.count("\n", 0, match.start()) + 2, match[1], match[2]) for match in _FENCED.finditer(text)]


def all_blocks() -> list[Block]:
    """The blocks of all pages."""
    return [block for page in PAGES for block in blocks_of(page)]
