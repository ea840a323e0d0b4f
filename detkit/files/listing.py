"""Listings of folders without hidden files."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path


def is_hidden(path: Path, root: Path | None = None) -> bool:
    """Whether a file or a folder on the way to it is hidden: ``._a.jpg``, ``.ipynb_checkpoints/a.jpg``.

    Args:
        path: of the file.
        root: only what lies below it counts, since users may keep their data under a hidden folder; None: only the
            file's own name counts.
    """
    names = (path.name,) if root is None else path.relative_to(root).parts
    return any(name.startswith(".") and name not in (".", "..") for name in names)


def visible(paths: Iterable[Path], root: Path | None = None) -> list[Path]:
    """The paths that are not hidden, sorted; see `is_hidden`."""
    return sorted(path for path in paths if not is_hidden(path, root))
