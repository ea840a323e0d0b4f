"""Data sets in ImageNet's layout: a folder of images per class, in ``root/train/`` or in the folder itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from pathlib import Path

import numpy as np

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad
from detkit.data.layouts.split_folders import SPLIT_NAMES, split_folder
from detkit.data.packed.columns import ImageLabels
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.files import visible, visible_below
from detkit.files.text_documents import read_lines
from detkit.images import is_image, read_image
from detkit.structures import Category

NAMES_FILES = ("LOC_synset_mapping.txt", "synset_words.txt", "classes.txt")

_PARTS = frozenset({"annotations", "images", "jpegimages", "labels", "masks"})
_SPLIT_NAMES = {"val": ("val", "valid", "validation")}


class ImageFolderDataset(DetectionDataset):
    """Images of one split, each with the class whose folder it lies in; no objects.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and a `Target` without boxes whose ``image_label`` is
    the class. Classes are the folders, sorted. The id of an image is its path within the split. Images may lie at any
    depth below the folder of their class; other files are ignored.

    A file ``LOC_synset_mapping.txt``, ``synset_words.txt`` or ``classes.txt`` in `root` gives the classes readable
    names, one line each: the folder's name, a space, and the class's name, as in ILSVRC's ``n01440764 tench, Tinca
    tinca``. Names that several classes share get the folder's name as a suffix.

    Args:
        root: the folder of the splits. Without any, it is that of the classes, and all images are the split train.
        split: such as ``train``; ``val`` may be called ``valid`` or ``validation``.
        on_bad_image: as of `CocoDataset`.
        reads: fields of targets; there are none besides the class.

    Raises:
        InputError: the split is not there, a folder has no images, or an image file, when indexed, cannot be decoded.
    """

    called = "a folder for each class"

    def __init__(
        self, root: str | Path, split: str = "train", on_bad_image: OnBad = "error", reads: Collection[str] = ()
    ) -> None:
        self.root = Path(root)
        folder = _find(self.root, split)
        super().__init__(folder, folder, reads, on_bad_image)

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        folders = _class_folders(self.images_path)
        files = [_image_files(folder) for folder in folders]
        for folder, names in zip(folders, files, strict=True):
            if not names:
                raise InputError(f"{folder}: this folder of a class holds no image; add some or remove it")
        named = zip(folders, files, strict=True)
        paths = np.array([f"{folder.name}/{name}" for folder, names in named for name in names])
        categories = _categories([folder.name for folder in folders], self.root)
        labels = np.repeat(np.arange(len(folders)), [len(names) for names in files])
        return PackedAnnotations(
            categories=categories,
            image_ids=paths,
            file_names=paths,
            # Unknown: opening a million files for their sizes would take longer than an epoch of a small network.
            image_sizes=np.zeros((len(paths), 2), dtype=np.int64),
            offsets=np.zeros(len(paths) + 1, dtype=np.int64),
            columns={"image_label": ImageLabels(labels, ids=tuple(category.id for category in categories))},
            dropped=[],
        )

    def read_image(self, index: int) -> np.ndarray:
        """The image as uint8 RGB ``(H, W, 3)``.

        Raises:
            InputError: missing or broken; names the file.
        """
        return read_image(self.images_path / str(self._packed.file_names[index]))

    def check_files(self) -> None:
        """Nothing to do: the files were just listed."""


def is_image_folder(root: Path) -> bool:
    """Whether a folder has a split in ImageNet's layout."""
    for split in ("train", "val", "test"):
        for name in _SPLIT_NAMES.get(split, (split,)):
            folder = root / name
            classes = _class_folders(folder) if folder.is_dir() else []
            # Folders of other layouts, such as images/ beside labels/, are no classes.
            if any(one.name.lower() not in _PARTS for one in classes) and any(map(_has_images, classes)):
                return True
    return _is_of_classes(root)


def has_images_of(root: Path, split: str) -> bool:
    """Whether a folder in ImageNet's layout has a split."""
    return split_folder(root, split) is not None or (split == "train" and _is_of_classes(root))


def _is_of_classes(root: Path) -> bool:
    """Whether a folder holds folders of images, two or more, and neither splits nor what may be annotations."""
    if not root.is_dir() or any(split_folder(root, split) for split in SPLIT_NAMES):
        return False
    folders = _class_folders(root)
    if len(folders) < 2 or any(folder.name.lower() in _PARTS for folder in folders):
        return False
    is_annotated = any(
        path.suffix in (".json", ".xml") for folder in (root, *folders) for path in visible(folder.iterdir())
    )
    return not is_annotated and all(map(_has_images, folders))


def _find(root: Path, split: str) -> Path:
    for name in _SPLIT_NAMES.get(split, (split,)):
        if (root / name).is_dir():
            if not _class_folders(root / name):
                raise InputError(f"{root / name}: this folder must hold a folder of images for each class")
            return root / name
    if split == "train" and _is_of_classes(root):
        return root
    present = ", ".join(path.name for path in visible(root.iterdir()) if path.is_dir()) if root.is_dir() else ""
    raise InputError(
        f"{root}: there is no folder {split}, which holds a folder of images for each class; "
        f"found the folders {present or '(none)'}"
    )


def _class_folders(split: Path) -> list[Path]:
    return [path for path in visible(split.iterdir()) if path.is_dir()]


def _has_images(folder: Path) -> bool:
    return any(is_image(path.name) for path in visible(folder.iterdir()))


def _image_files(folder: Path) -> list[str]:
    """The paths of the images below a folder, relative to it, sorted."""
    return sorted(filter(is_image, visible_below(folder)))


def _categories(folders: list[str], root: Path) -> list[Category]:
    meanings = _meanings(root)
    names = [meanings.get(folder, folder) for folder in folders]
    counts = Counter(names)
    return [
        Category(number, name if counts[name] == 1 else f"{name} ({folder})")
        for number, (folder, name) in enumerate(zip(folders, names, strict=True), start=1)
    ]


def _meanings(root: Path) -> dict[str, str]:
    """The class name of each folder's name, from a file in `root`; empty without one."""
    for name in NAMES_FILES:
        if (root / name).is_file():
            pairs = [line.partition(" ") for _, line in read_lines(root / name)]
            return {folder: meaning.strip() or folder for folder, _, meaning in pairs}
    return {}
