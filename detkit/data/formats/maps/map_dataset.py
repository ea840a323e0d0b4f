"""`MapDataset`: the base class of data sets of images and maps."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad
from detkit.data.formats.maps.map_classes import MapClasses
from detkit.data.formats.maps.map_reader import MapReader
from detkit.data.formats.maps.pairs import Pair
from detkit.data.packed.columns import Column, ImageFacts, ImageFiles
from detkit.data.packed.packed_annotations import PackedAnnotations

InstanceReader = Callable[[Path, ImageFacts], Any]
"""Reads the panoptic map of an image from the file that tells its instances apart."""


class MapDataset(DetectionDataset):
    """Images and label maps of one split of a folder; no objects.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and a `Target` without boxes, with ``label_map``. A
    map is read when its image is. The id of an image is its path within the split, without suffix.

    Args:
        root: the folder.
        split: a part of it.
        reads: the fields of targets to read: ``label_map`` or, where instances are told apart, ``panoptic_map``.
        on_bad_image: as of `CocoDataset`.

    Raises:
        InputError: the split is not there, or an image has no map.
    """

    readable = frozenset({"label_map"})
    called = "a folder of label maps"
    advice = "give COCO's panoptic format"
    of_maps = True

    def __init__(
        self, root: str | Path, split: str, reads: Collection[str] = ("label_map",), on_bad_image: OnBad = "error"
    ) -> None:
        self.split = split
        super().__init__(Path(root), Path(root), reads, on_bad_image)

    @staticmethod
    def has_split(root: Path, split: str) -> bool:
        """Whether a folder has a split."""
        raise NotImplementedError

    @abstractmethod
    def find_pairs(self) -> list[Pair]:
        """The images of the split and their maps."""

    @abstractmethod
    def map_classes(self) -> MapClasses:
        """The classes, and what stands for them in maps."""

    def instance_reader(self, classes: MapClasses) -> InstanceReader | None:
        """Reads panoptic maps; None: instances are not told apart."""
        return None

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        pairs, classes = self.find_pairs(), self.map_classes()
        names = [pair.image.relative_to(self.images_path).as_posix() for pair in pairs]
        size_of = self._size_in_file(on_bad_image)
        label_maps = np.array([str(pair.label_map) for pair in pairs])
        columns: dict[str, Column] = {"label_map": ImageFiles(label_maps, MapReader.of(classes), "label_map")}
        if (reader := self.instance_reader(classes)) is not None:
            instances = np.array([str(pair.instances or "") for pair in pairs])
            columns["panoptic_map"] = ImageFiles(instances, reader, "panoptic_map")
        return PackedAnnotations(
            categories=list(classes.categories),
            image_ids=np.array([pair.image_id for pair in pairs]),
            file_names=np.array(names),
            image_sizes=np.array([size_of(name) for name in names], dtype=np.int64).reshape(-1, 2),
            offsets=np.zeros(len(pairs) + 1, dtype=np.int64),
            columns=columns,
            dropped=[],
        )

    def check_files(self) -> None:
        """Nothing to do: the files were just listed."""
