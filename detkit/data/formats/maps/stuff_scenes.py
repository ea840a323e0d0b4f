"""ADE20K's scene parsing, and COCO-Stuff's pixel maps."""

from __future__ import annotations

from pathlib import Path

from detkit.data.formats.maps.known_classes import ADE20K, COCO_STUFF, COCO_STUFF_UNUSED
from detkit.data.formats.maps.map_classes import MapClasses, listed_map_classes
from detkit.data.formats.maps.map_dataset import MapDataset
from detkit.data.formats.maps.pairs import Pair, images_below, paired
from detkit.data.layouts.split_folders import split_folder
from detkit.errors import InputError
from detkit.files import visible, visible_below
from detkit.structures import Category

_STUFF_FOLDERS = ("stuffthingmaps", "pixelmaps")
_TRAIN_IDS = "_labelTrainIds"
_FIRST_STUFF = 92


class Ade20kDataset(MapDataset):
    """Images and label maps of one split of ADE20K's scene parsing: ``images/training/`` and ``annotations/training/``.

    The 150 classes have the pixel values 1 to 150 as ids; 0, everything else, is ignored. Arguments and errors as of
    `MapDataset`.
    """

    @staticmethod
    def has_split(root: Path, split: str) -> bool:
        """Whether a folder has a split."""
        return bool(split_folder(root / "images", split) and split_folder(root / "annotations", split))

    def find_pairs(self) -> list[Pair]:
        images, maps = (split_folder(self.images_path / name, self.split) for name in ("images", "annotations"))
        if images is None or maps is None:
            raise InputError(
                f"{self.images_path}: there is no split {self.split} in images/ and annotations/, where ADE20K has "
                "training/ and validation/"
            )
        return paired(images_below(images), images_below(maps), [str], images, maps)

    def map_classes(self) -> MapClasses:
        return listed_map_classes(ADE20K, first_value=1, ignored=frozenset({0, 255}), source="ADE20K's 150 classes")


def is_ade20k(root: Path) -> bool:
    """Whether a folder has the layout of ADE20K's scene parsing."""
    names = {path.name for path in visible(root.glob("*.txt"))}
    return Ade20kDataset.has_split(root, "train") and bool(names & {"objectInfo150.txt", "sceneCategories.txt"})


class CocoStuffDataset(MapDataset):
    """Images and label maps of one split of COCO-Stuff: ``train2017/`` and ``stuffthingmaps/train2017/``.

    The 171 annotated classes have COCO-Stuff's ids; a pixel has the id minus 1, and 255 is ignored. Maps
    ``*_labelTrainIds.png``, with the values 0 to 170, are read too. Arguments and errors as of `MapDataset`.
    """

    @staticmethod
    def has_split(root: Path, split: str) -> bool:
        """Whether a folder has a split."""
        return None not in _folders(root, split)

    def find_pairs(self) -> list[Pair]:
        images, maps = _folders(self.images_path, self.split)
        if images is None or maps is None:
            raise InputError(
                f"{self.images_path}: there is no split {self.split}, which has stuffthingmaps/{self.split}2017/ and "
                f"its images in {self.split}2017/ or images/{self.split}2017/"
            )
        self._has_train_ids = any(name.endswith(f"{_TRAIN_IDS}.png") for name in visible_below(maps))
        files = images_below(maps)
        if self._has_train_ids:  # which lie beside the others
            files = {name: path for name, path in files.items() if name.endswith(_TRAIN_IDS)}
        form = (lambda name: f"{name}{_TRAIN_IDS}") if self._has_train_ids else str
        return paired(images_below(images), files, [form], images, maps)

    def map_classes(self) -> MapClasses:
        categories = [
            Category(key, name, key < _FIRST_STUFF)
            for key, name in enumerate(COCO_STUFF, start=1)
            if key not in COCO_STUFF_UNUSED
        ]
        values = {label if self._has_train_ids else category.id - 1: label for label, category in enumerate(categories)}
        return MapClasses(categories, values, source="COCO-Stuff's classes")


def is_coco_stuff(root: Path) -> bool:
    """Whether a folder has COCO-Stuff's layout."""
    return any(CocoStuffDataset.has_split(root, split) for split in ("train", "val"))


def _folders(root: Path, split: str) -> tuple[Path | None, Path | None]:
    """The folders of the images and the maps of a split."""
    images = [root / "images", root]
    return _of_split(images, split), _of_split([root / name for name in _STUFF_FOLDERS], split)


def _of_split(parents: list[Path], split: str) -> Path | None:
    for parent in parents:
        found = [path for path in visible([parent / split, *parent.glob(f"{split}20??")]) if path.is_dir()]
        if found:
            return found[0]
    return None
