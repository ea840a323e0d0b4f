"""The folders of splits in a data set's folder, and the names that they have."""

from __future__ import annotations

from pathlib import Path

from detkit.files import visible

SPLIT_NAMES = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}
"""What the folder of a split, or a subset of it, may be called, in small or capital letters."""


def split_folder(root: Path, split: str) -> Path | None:
    """The folder of a split in `root`; None where there is none."""
    if not root.is_dir():
        return None
    folders = {path.name.casefold(): path for path in visible(root.iterdir(), root) if path.is_dir()}
    names = (split, *SPLIT_NAMES.get(split, ()))
    return next((folders[name.casefold()] for name in names if name.casefold() in folders), None)


def is_named(subset: str, split: str) -> bool:
    """Whether a subset's name means a split."""
    return subset.casefold() in (split.casefold(), *SPLIT_NAMES.get(split, ()))
