"""The ``data.yaml`` of a YOLO folder: its classes and the image files of each split."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from detkit.errors import InputError
from detkit.files import named_file, visible, visible_below
from detkit.images import is_image


class Description:
    """The content of a ``data.yaml``.

    Args:
        path: of the file.
        content: its keys and values.

    Attributes:
        root: the folder that its paths are relative to.
        names: the classes, in the order of their labels.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self.names = _names(content, path)
        stated = path.parent / str(content.get("path") or "")
        self.root = stated if stated.is_dir() or not content.get("path") else Path(content["path"])
        if not self.root.is_dir():
            raise InputError(
                f"{path}: the 'path' {content['path']!r} is no folder next to the file or in the working folder"
            )

    @property
    def splits(self) -> list[str]:
        """Those of train, val and test that the file names."""
        return [split for split in ("train", "val", "test") if self.content.get(split)]

    def images(self, split: str) -> list[Path]:
        """The image files of a split, in order.

        Raises:
            InputError: the split is not there, or names no images.
        """
        entries = self.content.get(split) or (self.content.get("valid") if split == "val" else None)
        if not entries:
            present = ", ".join(self.splits) or "none of train, val and test"
            raise InputError(f"{self.path} names no '{split}' images, it has {present}; add the folder or list of them")
        entries = entries if isinstance(entries, list) else [entries]
        files = [file for entry in entries for file in self._files(str(entry), split)]
        if not files:
            raise InputError(f"{self.path}: there is no image in '{split}': {', '.join(map(str, entries))}")
        return list(dict.fromkeys(files))

    def _files(self, entry: str, split: str) -> Iterator[Path]:
        """The image files that a folder, list or file names."""
        path = self._resolve(entry)
        if path is None:
            raise InputError(f"{self.path}: '{split}' is {entry}, which does not exist in {self.root}")
        if path.is_dir():
            yield from sorted(path / name for name in visible_below(path) if is_image(name))
        elif path.suffix == ".txt":
            for line in path.read_text("utf-8-sig").splitlines():
                if line.strip():
                    yield self._listed_image(line.strip(), path)
        else:
            yield path

    def _resolve(self, entry: str) -> Path | None:
        """The path of an entry, relative to the root or, as in some exports, to a folder in it; None if missing."""
        folders = [self.root, self.path.parent]
        candidates = [named_file(folder, entry) for folder in folders]
        candidates.append(named_file(self.root, entry.replace("\\", "/").removeprefix("../")))
        return next((candidate for candidate in candidates if candidate.exists()), None)

    def _listed_image(self, line: str, list_file: Path) -> Path:
        """An image of a list file, relative to that file, to the root, or to the working folder."""
        candidates = [named_file(folder, line) for folder in (list_file.parent, self.root, Path())]
        return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def find_description(data: Path) -> Path:
    """The ``data.yaml`` of a folder, or `data` itself where it is a file.

    Raises:
        InputError: there is none, or more than one file that could be it.
    """
    if data.is_file():
        return data
    files = [data / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (data / name).is_file()]
    files = files[:1] or [path for path in visible(data.glob("*.y*ml")) if _is_description(path)]
    if len(files) == 1:
        return files[0]
    if files:
        raise InputError(f"{data}: {', '.join(path.name for path in files)} could each be the data.yaml; name one")
    raise InputError(f"{data}: there is no data.yaml, which lists the images and the classes of a YOLO folder")


def is_yolo(data: Path) -> bool:
    """Whether `data` is a ``data.yaml`` or a folder with one."""
    try:
        return data.suffix in (".yaml", ".yml") or bool(data.is_dir() and find_description(data))
    except InputError:
        return False


def _is_description(path: Path) -> bool:
    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and {"names", "train"} <= content.keys()


def read_description(path: Path) -> Description:
    """Read a ``data.yaml``.

    Raises:
        InputError: it is not YAML, or has no classes, or its ``path`` is no folder.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot read this file ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a data.yaml has the keys train, val and names, this one holds {content!r:.60}")
    return Description(path, content)


def _names(content: dict[str, Any], path: Path) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise InputError(f"{path}: 'names' must number the classes 0, 1, 2 …, it has {list(names)[:20]}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{path}: 'names' must list the classes, it is {names!r:.60}")
    if content.get("nc", len(names)) != len(names):
        raise InputError(f"{path}: 'nc' is {content['nc']!r}, but 'names' has {len(names)} classes")
    return [str(name) for name in names]
