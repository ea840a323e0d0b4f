"""Cityscapes and CamVid: scenes of roads, each in its own layout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.data.formats.maps.known_classes import (
    CAMVID,
    CAMVID_VOID,
    CITYSCAPES,
    CITYSCAPES_FIRST_THING,
    CITYSCAPES_UNUSED,
)
from detkit.data.formats.maps.map_classes import MapClasses
from detkit.data.formats.maps.map_dataset import MapDataset
from detkit.data.formats.maps.map_reader import check_size
from detkit.data.formats.maps.pairs import Pair, images_below, paired
from detkit.data.packed.columns import ImageFacts
from detkit.errors import InputError
from detkit.files import visible_below
from detkit.images import read_map
from detkit.structures import Category
from detkit.structures.image_fields import INSTANCES

_IMAGE = "_leftImg8bit"
_GROUND_TRUTH = ("gtFine", "gtCoarse")


class CityscapesDataset(MapDataset):
    """Images and label maps of one split of Cityscapes: ``leftImg8bit/{split}/`` and ``gtFine/{split}/``.

    ``*_gtFine_labelIds.png`` become the 19 evaluated classes; without them ``*_gtFine_labelTrainIds.png`` are read.
    Panoptic maps are those of ``*_gtFine_instanceIds.png``. Categories have Cityscapes' label ids. ``gtCoarse`` is read
    where there is no ``gtFine``. Arguments and errors as of `MapDataset`.
    """

    readable = frozenset({"label_map", "panoptic_map"})

    @staticmethod
    def has_split(root: Path, split: str) -> bool:
        """Whether a folder has a split."""
        return (root / "leftImg8bit" / split).is_dir() and _truth(root, split) is not None

    def find_pairs(self) -> list[Pair]:
        folder, truth = self.images_path / "leftImg8bit" / self.split, _truth(self.images_path, self.split)
        if truth is None or not folder.is_dir():
            raise InputError(
                f"{self.images_path}: there is no split {self.split}, which has leftImg8bit/{self.split}/ and "
                f"gtFine/{self.split}/"
            )
        kind = truth.parent.name
        files = {name.removesuffix(".png") for name in visible_below(truth) if name.endswith(".png")}
        ends = [f"_{kind}_labelIds", f"_{kind}_labelTrainIds"]
        end = next((one for one in ends if any(name.endswith(one) for name in files)), ends[0])
        images = {name.removesuffix(_IMAGE): path for name, path in images_below(folder).items()}
        maps = {name.removesuffix(end): truth / f"{name}.png" for name in files if name.endswith(end)}
        pairs = paired(images, maps, [str], folder, truth)
        instances = {name for name in files if name.endswith(f"_{kind}_instanceIds")}
        self._has_train_ids = end == ends[1]
        return [
            pair._replace(instances=truth / f"{own}.png")
            if (own := f"{pair.image_id}_{kind}_instanceIds") in instances
            else pair
            for pair in pairs
        ]

    def map_classes(self) -> MapClasses:
        categories = [
            Category(key, name, key >= CITYSCAPES_FIRST_THING, color) for key, (name, color) in CITYSCAPES.items()
        ]
        values = {label if self._has_train_ids else key: label for label, key in enumerate(CITYSCAPES)}
        unused = frozenset({255}) if self._has_train_ids else CITYSCAPES_UNUSED
        return MapClasses(categories, values, unused, source="the label ids of Cityscapes")

    def instance_reader(self, classes: MapClasses) -> CityscapesInstances:
        return CityscapesInstances({key: label for label, key in enumerate(CITYSCAPES)})


def is_cityscapes(root: Path) -> bool:
    """Whether a folder has Cityscapes' layout."""
    return (root / "leftImg8bit").is_dir() and any((root / name).is_dir() for name in _GROUND_TRUTH)


def _truth(root: Path, split: str) -> Path | None:
    return next((path for name in _GROUND_TRUTH if (path := root / name / split).is_dir()), None)


@dataclass(frozen=True)
class CityscapesInstances:
    """Reads panoptic maps from ``instanceIds``: ``label id * 1000 + instance``, or the label id alone of stuff and of
    groups of things that are not told apart.

    Args:
        labels: the label of each evaluated label id.
    """

    labels: Mapping[int, int]

    def __call__(self, path: Path, image: ImageFacts) -> Tensor:
        values = read_map(path, f"the instances of image {image.image_id!r}")
        check_size(values, path, image)
        if values.ndim != 2:
            raise InputError(
                f"{path}: the instances of image {image.image_id!r} must be numbers of 16 bits, not colors"
            )
        values = values.astype(np.int32)
        is_instance = values >= 1000
        keys = np.where(is_instance, values // 1000, values)
        table = np.full(int(keys.max(initial=0)) + 1, -1, dtype=np.int32)
        for key, label in self.labels.items():
            if key < len(table):
                table[key] = label
        labels = table[keys]
        # Instances count from 0 there, and from 1 here.
        panoptic = labels * INSTANCES + np.where(is_instance, values % 1000 + 1, 0)
        return torch.from_numpy(np.where(labels < 0, -1, panoptic).astype(np.int32))


class CamVidDataset(MapDataset):
    """Images and label maps of one split of CamVid in SegNet's layout: ``train/`` and ``trainannot/``, and so on.

    The 11 classes have the pixel values 0 to 10; 11, void, is ignored. Arguments and errors as of `MapDataset`.
    """

    @staticmethod
    def has_split(root: Path, split: str) -> bool:
        """Whether a folder has a split."""
        return (root / split).is_dir() and (root / f"{split}annot").is_dir()

    def find_pairs(self) -> list[Pair]:
        images, maps = self.images_path / self.split, self.images_path / f"{self.split}annot"
        if not images.is_dir() or not maps.is_dir():
            raise InputError(f"{self.images_path}: there is no split {self.split}, which has {images} and {maps}")
        return paired(images_below(images), images_below(maps), [str], images, maps)

    def map_classes(self) -> MapClasses:
        things = {"car", "pedestrian", "bicyclist"}
        categories = [Category(value, name, name in things, CAMVID[name]) for value, name in enumerate(CAMVID)]
        values = {value: value for value in range(len(categories))}
        return MapClasses(categories, values, frozenset({CAMVID_VOID, 255}), source="CamVid's classes")


def is_camvid(root: Path) -> bool:
    """Whether a folder has SegNet's layout of CamVid."""
    return any(CamVidDataset.has_split(root, split) for split in ("train", "val", "test"))
