"""PASCAL VOC's segmentations: ``SegmentationClass/``, ``SegmentationObject/`` and ``ImageSets/Segmentation/*.txt``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.data.formats.field_readers import CocoFile, FieldReader
from detkit.data.formats.maps.known_classes import VOC, VOC_BORDER
from detkit.data.formats.maps.map_classes import MapClasses
from detkit.data.formats.maps.map_dataset import MapDataset
from detkit.data.formats.maps.map_reader import MapReader, check_size
from detkit.data.formats.maps.pairs import Pair
from detkit.data.packed.columns import Column, ImageFacts, ImageFiles
from detkit.errors import InputError
from detkit.files import named_file, visible
from detkit.files.text_documents import read_lines
from detkit.images import read_map
from detkit.structures import Category
from detkit.structures.categories import voc_color
from detkit.structures.image_fields import INSTANCES

_MAPS = ("SegmentationClass", "SegmentationClassAug")
_VOID = 255


class VocSegmentationDataset(MapDataset):
    """Images and label maps of one image set ``ImageSets/Segmentation/{split}.txt`` of a VOC folder.

    The 21 classes have the pixel values of VOC as ids: 0 is the background. 255, the border of objects, is ignored.
    ``trainaug`` takes maps from ``SegmentationClassAug/`` too. Arguments and errors as of `MapDataset`; several VOC
    folders in `root` are taken together, with ids such as ``VOC2012/2007_000032``.
    """

    readable = frozenset({"label_map", "panoptic_map"})

    @staticmethod
    def has_split(root: Path, split: str) -> bool:
        """Whether a folder has a split."""
        return bool(_image_sets(root, split))

    def find_pairs(self) -> list[Pair]:
        sets = _image_sets(self.images_path, self.split)
        if not sets:
            raise InputError(
                f"{self.images_path}: there is no ImageSets/Segmentation/{self.split}.txt beside a SegmentationClass/"
            )
        pairs = []
        for path in sets:
            folder = path.parents[2]
            prefix = f"{folder.name}/" if len(sets) > 1 else ""
            for number, stem in read_lines(path):
                label_map = next((one for name in _MAPS if (one := folder / name / f"{stem}.png").is_file()), None)
                if label_map is None:
                    raise InputError(f"{path}:{number}: there is no map {folder / _MAPS[0] / stem}.png of this image")
                image, instances = folder / "JPEGImages" / f"{stem}.jpg", folder / "SegmentationObject" / f"{stem}.png"
                if not image.is_file():
                    raise InputError(f"{path}:{number}: there is no image {image}")
                pairs.append(Pair(f"{prefix}{stem}", image, label_map, instances if instances.is_file() else None))
        return pairs

    def map_classes(self) -> MapClasses:
        return voc_map_classes()

    def instance_reader(self, classes: MapClasses) -> VocInstances:
        return VocInstances(MapReader.of(classes))


def voc_map_classes() -> MapClasses:
    """VOC's classes, with the background as the first."""
    categories = [
        Category(value, name, is_thing=value > 0, color=voc_color(value) if value else None)
        for value, name in enumerate(VOC)
    ]
    colors = {voc_color(value): value for value in range(len(VOC))}
    return MapClasses(
        categories,
        {value: value for value in range(len(VOC))},
        colors=colors,
        ignored_colors=frozenset({VOC_BORDER}),
        uses_palette=False,
        source="VOC's classes",
    )


def is_voc_segmentation(root: Path) -> bool:
    """Whether a folder is, or holds, one of VOC with segmentations."""
    return any(VocSegmentationDataset.has_split(root, split) for split in ("train", "val", "trainval", "trainaug"))


def _image_sets(root: Path, split: str) -> list[Path]:
    for folders in ([root], visible(root.glob("*/")), visible(root.glob("VOCdevkit/*/"))):
        sets = [folder / "ImageSets" / "Segmentation" / f"{split}.txt" for folder in folders]
        if found := [path for path in sets if path.is_file() and (path.parents[2] / _MAPS[0]).is_dir()]:
            return found
    return []


@dataclass(frozen=True)
class VocInstances:
    """Reads panoptic maps: the objects of ``SegmentationObject/``, with the classes of ``SegmentationClass/``.

    Args:
        classes: reads the label map of the same name.
    """

    classes: MapReader

    def __call__(self, path: Path, image: ImageFacts) -> Tensor:
        objects = read_map(path, f"the map of objects of image {image.image_id!r}")
        check_size(objects, path, image)
        if objects.ndim != 2:
            raise InputError(f"{path}: the map of objects of image {image.image_id!r} must be indexed, not in color")
        labels = self.classes(path.parents[1] / _MAPS[0] / path.name, image).numpy().astype(np.int32)
        values = labels * INSTANCES + np.where(labels > 0, objects, 0)
        return torch.from_numpy(np.where((labels == _VOID) | (objects == _VOID), -1, values).astype(np.int32))


class VocMapReader(FieldReader):
    """``label_map`` of a VOC folder with boxes: ``SegmentationClass/``, for the images that have one there.

    Pixels of VOC's classes get the label of their name. The background, and classes that are not listed, mean no class.
    """

    per_object = False

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> Column:
        maps = [_map_of(named_file(file.images_path, entry["file_name"])) for entry in entries]
        if not any(maps):
            raise InputError(
                f"{file.path}: no image has a map in {_MAPS[0]}/, so label maps cannot be read from this folder"
            )
        labels = {category.name: label for label, category in enumerate(file.categories)}
        known = {value: labels[name] for value, name in enumerate(VOC) if name in labels}
        others = set(range(len(VOC))) - set(known)
        classes = MapClasses(
            file.categories,
            known,
            frozenset({_VOID}) | others,
            {voc_color(value): label for value, label in known.items()},
            frozenset({VOC_BORDER}) | {voc_color(value) for value in others},
            uses_palette=False,
            source="VOC's classes",
        )
        return ImageFiles(np.array(maps), MapReader.of(classes), "label_map")


def _map_of(image: Path) -> str:
    path = image.parents[1] / _MAPS[0] / f"{image.stem}.png"
    return str(path) if path.is_file() else ""
