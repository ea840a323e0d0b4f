"""YOLO folders without a ``data.yaml``: their classes are the lines of ``classes.txt``."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import islice
from pathlib import Path

from detkit.data.layouts.split_folders import split_folder
from detkit.errors import InputError
from detkit.files import visible_below
from detkit.files.text_documents import numbers_in, read_lines

CLASS_LIST = "classes.txt"

MOST_FILES = 20_000
"""How many files of a folder are looked at: what it is must be known within a second."""

_MOST_TEXTS = 20


def class_list(root: Path) -> Path | None:
    """The ``classes.txt`` of a folder of YOLO's labels; None where there is none, or no labels."""
    path = root / CLASS_LIST
    if not path.is_file() or first_label_file(root, islice(visible_below(root), MOST_FILES)) is None:
        return None
    return path


def described(path: Path) -> dict[str, object]:
    """What a ``data.yaml`` would say in place of a ``classes.txt``.

    Splits are the folders ``train``, ``val`` and ``test`` in ``images/`` or in the folder itself; without any, all
    images are the split train.

    Raises:
        InputError: the file cannot be read.
    """
    root = path.parent
    names = [line for _, line in read_lines(path)]
    for base in (root / "images", root):
        folders = {split: split_folder(base, split) for split in ("train", "val", "test")}
        splits = {split: folder.relative_to(root).as_posix() for split, folder in folders.items() if folder}
        if splits:
            return {"names": names, **splits}
    return {"names": names, "train": "images" if (root / "images").is_dir() else "."}


def first_label_file(root: Path, files: Iterable[str]) -> str | None:
    """The first of some files in `root` that holds labels of YOLO, among the first text files; None without any."""
    texts = islice((name for name in files if name.endswith(".txt")), _MOST_TEXTS)
    return next((name for name in texts if _is_label_file(root / name)), None)


def _is_label_file(path: Path) -> bool:
    """Whether the first line is a class and a box, or an outline."""
    try:
        lines = read_lines(path)
    except InputError:
        return False
    numbers = numbers_in(lines[0][1]) if lines else None
    return numbers is not None and len(numbers) >= 5 and numbers[0].is_integer()
