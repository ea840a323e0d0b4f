"""Any folder of images and label maps: ``images/`` beside ``masks/``, ``labels/`` or ``annotations/``."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from pathlib import Path

from detkit.data.formats.coco_annotations import OnBad
from detkit.data.formats.maps.map_classes import MapClasses, read_map_classes
from detkit.data.formats.maps.map_dataset import MapDataset
from detkit.data.formats.maps.pairs import MAP_SUFFIXES, Pair, images_below, paired
from detkit.data.layouts.split_folders import SPLIT_NAMES, split_folder
from detkit.errors import InputError
from detkit.files import visible, visible_below
from detkit.images import is_image

IMAGE_FOLDERS = ("images", "image", "imgs", "img", "jpegimages")
MAP_FOLDERS = ("masks", "mask", "labels", "label", "annotations", "labelmaps", "label_maps", "segmentation", "gt")


class MapFolderDataset(MapDataset):
    """Images and label maps of one split of any folder that has both, in folders of their own.

    The map of ``images/train/a.jpg`` is ``masks/train/a.png`` or ``a_mask.png``; ``labels/`` and ``annotations/`` are
    read as well, and so are ``train/images/`` and ``train/masks/``. Without folders of splits, all images are the split
    train. Gray and indexed images hold pixel values, RGB ones the colors of `classes.txt`.

    Args:
        split: such as ``train``; ``val`` may be called ``valid`` or ``validation``.
        root: the folder.
        class_names: the classes by their pixel value, the first has 0, for a folder without `classes.txt` or another
            file of `detkit.data.formats.maps.map_classes.CLASS_FILES`; the file must list the same.
        reduce_zero_label: whether the value 0 means no class and 1 is the first; None: what ``classes.json`` says, else
            no.
        reads: the fields of targets to read.
        on_bad_image: as of `CocoDataset`.

    Raises:
        InputError: the split is not there, an image has no map, or the classes are not known.
    """

    def __init__(
        self,
        split: str,
        root: str | Path,
        class_names: Sequence[str] | None = None,
        reduce_zero_label: bool | None = None,
        reads: Collection[str] = ("label_map",),
        on_bad_image: OnBad = "error",
    ) -> None:
        self.class_names = class_names
        self.reduce_zero_label = reduce_zero_label
        super().__init__(root, split, reads, on_bad_image)

    @staticmethod
    def has_split(root: Path, split: str) -> bool:
        """Whether a folder has a split."""
        return find_folders(root, split) is not None

    def find_pairs(self) -> list[Pair]:
        folders = find_folders(self.images_path, self.split)
        if folders is None:
            present = ", ".join(f"{path.name}/" for path in visible(self.images_path.glob("*/"))) or "no folder"
            raise InputError(
                f"{self.images_path}: there is no split {self.split} of images and maps, such as images/{self.split}/ "
                f"and masks/{self.split}/; found {present}"
            )
        images, maps = folders
        forms = [partial(_with_suffix, suffix) for suffix in MAP_SUFFIXES]
        return paired(images_below(images), images_below(maps), forms, images, maps)

    def map_classes(self) -> MapClasses:
        return read_map_classes(self.images_path, self.class_names, self.reduce_zero_label)


def _with_suffix(suffix: str, name: str) -> str:
    return f"{name}{suffix}"


def is_map_folder(root: Path) -> bool:
    """Whether a folder holds images and label maps."""
    return any(find_folders(root, split) for split in SPLIT_NAMES)


def find_folders(root: Path, split: str) -> tuple[Path, Path] | None:
    """The folders of the images and of the maps of a split; None where there is none."""
    if not root.is_dir():
        return None
    if (pair := _sides(root)) is not None:
        if any(split_folder(side, name) for side in pair for name in SPLIT_NAMES):
            images, maps = (split_folder(side, split) for side in pair)
            return (images, maps) if images and maps and _hold_images(images, maps) else None
        return pair if split == "train" and _hold_images(*pair) else None
    folder = split_folder(root, split)
    pair = None if folder is None else _sides(folder)
    return pair if pair and _hold_images(*pair) else None


def _sides(root: Path) -> tuple[Path, Path] | None:
    folders = {path.name.casefold(): path for path in visible(root.iterdir(), root) if path.is_dir()}
    images = next((folders[name] for name in IMAGE_FOLDERS if name in folders), None)
    maps = next((folders[name] for name in MAP_FOLDERS if name in folders), None)
    return (images, maps) if images and maps else None


def _hold_images(images: Path, maps: Path) -> bool:
    """Whether both folders have image files, and that of the maps nothing that could be another annotation."""
    first = next((name for name in visible_below(maps) if not name.endswith((".md", ".csv", ".db"))), None)
    return first is not None and is_image(first) and any(map(is_image, visible_below(images)))
