"""Where the XML files of CVAT are, and which splits they hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detkit.data.layouts.split_folders import is_named, split_folder
from detkit.errors import InputError
from detkit.files import visible
from detkit.files.xml_documents import Element, read_xml


def is_cvat(root: Path) -> bool:
    """Whether a folder, or that of a split in it, holds an XML file of CVAT."""
    return bool(_own_files(root)) or any(_files_of_split(root, split) for split in ("train", "val", "test"))


class CvatFolder:
    """An export of CVAT, of which each XML file is parsed once.

    Args:
        root: the folder.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._trees: dict[Path, Element] = {}

    def tree(self, path: Path) -> Element:
        """The element ``annotations`` of one of its files.

        Raises:
            InputError: it is no XML file of CVAT.
        """
        if path not in self._trees:
            self._trees[path] = _read_cvat(path)
        return self._trees[path]

    def splits(self, names: Sequence[str] = ("train", "val", "test")) -> list[str]:
        """Those of `names` that have a folder or a subset; without any, all images are the split train."""
        present = [name for name in names if _files_of_split(self.root, name) or self._has_subset(name)]
        return present or [name for name in names if name == "train"]

    def files(self, split: str) -> list[tuple[Path, str | None]]:
        """The XML files of a split, each with the split that the subset of its images must name; None: all images.

        Raises:
            InputError: there is no such split.
        """
        if files := _files_of_split(self.root, split):
            return [(path, None) for path in files]
        present = self.splits()
        if split not in self.splits((*present, split)):
            raise InputError(f"{self.root}: CVAT's XML has no split {split}, it has {', '.join(present)}")
        has_subsets = any(map(self._has_subset, ("train", "val", "test", split)))
        return [(path, split if has_subsets else None) for path in _own_files(self.root)]

    def trees_of_all_splits(self) -> list[Element]:
        """The content of all files that hold a split."""
        paths = {path: None for split in self.splits() for path, _ in self.files(split)}
        return [self.tree(path) for path in paths]

    def _has_subset(self, split: str) -> bool:
        """Whether the subset of an image is this split."""
        images = (image for path in _own_files(self.root) for image in self.tree(path).children("image"))
        return any(is_named(image.attributes.get("subset", ""), split) for image in images)


def _read_cvat(path: Path) -> Element:
    tree = read_xml(path)
    if tree.tag != "annotations":
        raise InputError(f"{path}:{tree.line}: an XML file of CVAT holds an element <annotations>, not <{tree.tag}>")
    return tree


def _files_of_split(root: Path, split: str) -> list[Path]:
    folder = split_folder(root, split)
    return [] if folder is None else _own_files(folder)


def _own_files(folder: Path) -> list[Path]:
    """The XML files of CVAT in a folder, or in its ``annotations/``."""
    if not folder.is_dir():
        return []
    files = visible(folder.glob("*.xml")) or visible(folder.glob("annotations/annotations.xml"))
    # A folder of VOC has thousands of XML files; one of CVAT a few.
    return [path for path in files if _begins_as_cvat(path)] if files and _begins_as_cvat(files[0]) else []


def _begins_as_cvat(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            return b"<annotations" in file.read(4096)
    except OSError:
        return False
