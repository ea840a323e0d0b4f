"""Where the files of a LabelMe folder are: JSON files, in folders of the splits or without any."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from pathlib import Path

from detkit.data.layouts.split_folders import split_folder
from detkit.errors import InputError
from detkit.files import read_json, visible, visible_below

_MOST_LOOKED_AT = 3
_LARGEST_BYTES = 2**28


def is_labelme(root: Path) -> bool:
    """Whether one of the first JSON files of a folder, or of folders in it, is LabelMe's."""
    if not root.is_dir():
        return False
    files = visible(chain(*(root.glob(pattern) for pattern in ("*.json", "*/*.json", "*/*/*.json"))), root)
    return any(map(_is_labelme_file, files[:_MOST_LOOKED_AT]))


def labelme_splits(root: Path, names: Sequence[str] = ("train", "val", "test")) -> list[str]:
    """Those of `names` that have a folder; without any, all files are the split train."""
    return [name for name in names if _folders(root, name)] or [name for name in names if name == "train"]


def labelme_files(root: Path, split: str) -> list[Path]:
    """The JSON files of a split, sorted.

    Raises:
        InputError: there is no such split, or no JSON file in it.
    """
    folders = _folders(root, split) or ([root] if split in labelme_splits(root) else [])
    if not folders:
        present = ", ".join(labelme_splits(root))
        raise InputError(f"{root}: there is no folder {split} with LabelMe's JSON files, it has {present}")
    return [file for folder in folders for file in json_files(folder)]


def _folders(root: Path, split: str) -> list[Path]:
    """The folder of a split; else those in folders of the folder that hold JSON files, such as ``labels/train``."""
    if folder := split_folder(root, split):
        return [folder]
    inner = [found for folder in visible(root.glob("*/")) if (found := split_folder(folder, split))]
    return [folder for folder in inner if any(name.endswith(".json") for name in visible_below(folder))]


def json_files(folder: Path) -> list[Path]:
    """The JSON files of a folder and its subfolders.

    Raises:
        InputError: there is none.
    """
    files = sorted(folder / name for name in visible_below(folder) if name.endswith(".json"))
    if not files:
        raise InputError(f"{folder}: there is no JSON file of LabelMe in this folder")
    return files


def _is_labelme_file(path: Path) -> bool:
    try:
        content = read_json(path) if path.stat().st_size <= _LARGEST_BYTES else None
    except (InputError, OSError):
        return False
    return isinstance(content, dict) and isinstance(content.get("shapes"), list) and "imagePath" in content
