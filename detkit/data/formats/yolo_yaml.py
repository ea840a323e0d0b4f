"""The ``data.yaml`` of a YOLO folder: its classes and the image files of each split."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detkit.data.layouts.yolo_folders import CLASS_LIST, class_list, described
from detkit.errors import InputError
from detkit.files import named_file, read_yaml, visible, visible_below
from detkit.files.text_documents import read_lines, whole_number_in
from detkit.images import is_image


class Description:
    """The content of a ``data.yaml``.

    Args:
        path: of the file.
        content: its keys and values, as text: a class may be called ``no``, ``1.10`` or ``2024-01-01``.

    Attributes:
        root: the folder that its paths are relative to.
        names: the classes, in the order of their labels.
        missing_path: its ``path`` where that is no folder, as in a file from another machine, but ``train`` is next to
            the file; None otherwise.
        missing: the listed images that do not exist, each with the file and line of its list.
        num_keypoint_values: how many numbers of keypoints follow the box of an object, by ``kpt_shape``.

    Raises:
        InputError: it has no classes, or an invalid value.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self.names = _names(content, path)
        self.num_keypoint_values = _num_keypoint_values(content, path)
        self.missing_path: str | None = None
        self.root = self._root()
        self.missing: dict[Path, str] = {}

    def _root(self) -> Path:
        texts = self._texts("path")
        if not texts:
            return self.path.parent
        for folder in (self.path.parent / texts[0], Path(texts[0])):
            if os.path.isdir(folder):
                return folder
        entries = self._entries("train")
        if entries and all(os.path.exists(named_file(self.path.parent, entry)) for entry in entries):
            self.missing_path = texts[0]
            return self.path.parent
        raise InputError(f"{self.path}: the 'path' {texts[0]!r} is no folder next to the file or in the working folder")

    def _texts(self, key: str) -> list[str]:
        """The text or texts under a key; none where it is missing."""
        value = self.content.get(key)
        values = value if isinstance(value, list) else [value]
        if any(isinstance(one, (dict, list, tuple, set)) for one in values):
            raise InputError(f"{self.path}: {key!r} must be a path or a list of paths, it is {value!r:.60}")
        return [str(one) for one in values if one is not None and str(one)]

    @property
    def splits(self) -> list[str]:
        """Those of train, val and test that the file names."""
        return [split for split in ("train", "val", "test") if self._entries(split)]

    def images(self, split: str) -> list[Path]:
        """The image files of a split, in order.

        Raises:
            InputError: the split is not there, or names no images.
        """
        entries = self._entries(split)
        if not entries:
            present = ", ".join(self.splits) or "none of train, val and test"
            if self.path.name == CLASS_LIST:
                raise InputError(f"{self.path.parent}: there is no folder {split} of images, it has {present}")
            raise InputError(f"{self.path} names no '{split}' images, it has {present}; add the folder or list of them")
        files = [file for entry in entries for file in self._files(entry, split)]
        if not files:
            raise InputError(f"{self.path}: there is no image in '{split}': {', '.join(entries)}")
        return list(dict.fromkeys(files))

    def _entries(self, split: str) -> list[str]:
        return self._texts(split) or (self._texts("valid") if split == "val" else [])

    def _files(self, entry: str, split: str) -> Iterator[Path]:
        """The image files that a folder, list or file names."""
        path = self._resolve(entry)
        if path is None:
            raise InputError(f"{self.path}: '{split}' is {entry}, which does not exist in {self.root}")
        if os.path.isdir(path):
            yield from sorted(path / name for name in visible_below(path) if is_image(name))
        elif path.suffix == ".txt":
            for number, line in read_lines(path):
                yield self._listed_image(line, number, path)
        else:
            yield path

    def _resolve(self, entry: str) -> Path | None:
        """The path of an entry, relative to the root or, as in some exports, to a folder in it; None if missing."""
        candidates = [named_file(folder, entry) for folder in (self.root, self.path.parent)]
        candidates.append(named_file(self.root, entry.replace("\\", "/").removeprefix("../")))
        return next((candidate for candidate in candidates if os.path.exists(candidate)), None)

    def _listed_image(self, line: str, number: int, list_file: Path) -> Path:
        """An image of a list file, relative to that file, to the root, or to the working folder."""
        candidates = [named_file(folder, line) for folder in (list_file.parent, self.root, Path())]
        present = next((candidate for candidate in candidates if os.path.isfile(candidate)), None)
        if present is None:
            self.missing[candidates[0]] = f"{list_file}:{number}"
        return present or candidates[0]


def find_description(data: Path) -> Path:
    """The ``data.yaml`` of a folder, else its ``classes.txt``, or `data` itself where it is a file.

    Raises:
        InputError: there is none, or more than one file that could be it.
    """
    if data.is_file():
        return data
    files = [data / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (data / name).is_file()]
    files = files[:1] or [path for path in visible(data.glob("*.y*ml")) if _is_description(path)]
    if len(files) == 1:
        return files[0]
    if not files and (listed := class_list(data)):
        return listed
    if files:
        raise InputError(f"{data}: {', '.join(path.name for path in files)} could each be the data.yaml; name one")
    raise InputError(f"{data}: there is no data.yaml, which lists the images and the classes of a YOLO folder")


def is_yolo(data: Path) -> bool:
    """Whether `data` is a ``data.yaml`` or a folder with one, or with ``classes.txt`` and labels."""
    try:
        return data.suffix in (".yaml", ".yml") or bool(data.is_dir() and find_description(data))
    except InputError:
        return False


def _is_description(path: Path) -> bool:
    try:
        content = read_yaml(path, as_written=True)
    except InputError:
        return False
    return isinstance(content, dict) and {"names", "train"} <= content.keys()


def read_description(path: Path) -> Description:
    """Read a ``data.yaml`` or, of a folder without one, its ``classes.txt``.

    Raises:
        InputError: it is not YAML, has no classes, or an invalid value, or its ``path`` is no folder.
    """
    content = described(path) if path.name == CLASS_LIST else read_yaml(path, as_written=True)
    if not isinstance(content, dict):
        raise InputError(f"{path}: a data.yaml has the keys train, val and names, this one holds {content!r:.60}")
    return Description(path, content)


def _names(content: dict[str, Any], path: Path) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        numbers = {whole_number_in(str(key)): name for key, name in names.items()}
        if len(numbers) < len(names) or numbers.keys() != set(range(len(names))):
            raise InputError(f"{path}: 'names' must number the classes 0, 1, 2 …, it has {list(names)[:20]}")
        names = [numbers[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{path}: 'names' must list the classes, it is {names!r:.60}")
    for number, name in enumerate(names):
        if name is None or isinstance(name, (dict, list)) or not str(name).strip():
            raise InputError(f"{path}: the name of class {number} must be a text, it is {name!r:.60}; put it in quotes")
    count = content.get("nc")
    if count is not None and whole_number_in(str(count)) != len(names):
        raise InputError(f"{path}: 'nc' is {count!s:.60}, but 'names' has {len(names)} classes")
    return [str(name) for name in names]


def _num_keypoint_values(content: dict[str, Any], path: Path) -> int:
    shape = content.get("kpt_shape")
    if shape is None:
        return 0
    sides = [whole_number_in(str(side)) for side in shape] if isinstance(shape, list) else []
    if len(sides) != 2 or sides[1] not in (2, 3) or sides[0] is None or sides[0] < 0:
        raise InputError(f"{path}: 'kpt_shape' must be the number of keypoints and 2 or 3, it is {shape!r:.60}")
    return math.prod(side for side in sides if side is not None)
