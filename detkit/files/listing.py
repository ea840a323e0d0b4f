"""Listings of folders without hidden files, and files by the names that annotations give them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path


def is_hidden(path: Path, root: Path | None = None) -> bool:
    """Whether a file or a folder on the way to it is hidden: ``._a.jpg``, ``.ipynb_checkpoints/a.jpg``.

    Args:
        path: of the file.
        root: only what lies below it counts, since users may keep their data under a hidden folder; None: only the
            file's own name counts.
    """
    names = (path.name,) if root is None else path.relative_to(root).parts
    return any(map(_is_hidden_name, names))


def visible(paths: Iterable[Path], root: Path | None = None) -> list[Path]:
    """The paths that are not hidden, sorted; see `is_hidden`."""
    return sorted(path for path in paths if not is_hidden(path, root))


def visible_below(folder: str | Path) -> Iterator[str]:
    """The files of a folder and its subfolders that are not hidden, as paths ``x/a.jpg`` relative to it, in any order.

    Of a million files, this is several times as fast as `visible`.
    """
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not _is_hidden_name(name)]
        relative = os.path.relpath(parent, folder)
        prefix = "" if relative == "." else f"{relative.replace(os.sep, '/')}/"
        yield from (f"{prefix}{name}" for name in names if not _is_hidden_name(name))


def named_file(folder: Path, name: str) -> Path:
    """The file that an annotation names, relative to `folder`.

    Where nothing has the literal name, a backslash separates folders, as in annotations written on Windows.
    """
    return Path(named_path(folder, name))


def named_path(folder: str | Path, name: str) -> str:
    """As `named_file`, in a fraction of the time: for each image that a training reads."""
    path = os.path.join(folder, name)
    if "\\" not in name or os.path.exists(path):
        return path
    portable = os.path.join(folder, name.replace("\\", "/"))
    return portable if os.path.exists(portable) else path


def named_beside(source: str | Path, name: str) -> str:
    """The path of the file that an annotation file names, relative to its folder or to the folder above it.

    Where it is in neither, that in the folder of the annotation file.

    Args:
        source: the annotation file.
        name: as it is written there; an absolute path stays.
    """
    folder = os.path.dirname(source)
    paths = [named_path(one, name) for one in (folder, os.path.dirname(folder) if folder else os.pardir)]
    return next((path for path in paths if os.path.isfile(path)), paths[0])


def _is_hidden_name(name: str) -> bool:
    return name.startswith(".") and name not in (".", "..")
