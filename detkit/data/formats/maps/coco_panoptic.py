"""COCO's panoptic format as a data set: objects, masks, label maps and panoptic maps of the same PNGs."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from detkit.coco_files import panoptic_images, read_listed_categories, read_panoptic_file
from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco import find_images
from detkit.data.formats.coco_annotations import OnBad, pack_annotations
from detkit.data.formats.field_readers import CocoFile, FieldReader
from detkit.data.maps.panoptic_maps import PanopticFiles
from detkit.data.packed.columns import Column, ImageFacts
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.files import visible
from detkit.ops import masks_to_rle
from detkit.structures import Category
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES, label_map_dtype


class CocoPanopticDataset(DetectionDataset):
    """Images and targets of one panoptic file of COCO, ``panoptic_{split}.json`` with its folder of PNGs.

    Things become objects, with the boxes and areas of their segments; ``iscrowd`` segments are crowd regions.

    Args:
        images: folder that the file names in the JSON are relative to.
        annotations: the JSON file.
        maps: the folder of the PNGs; None: that of the same name, beside the file or in the folder above.
        reads: the fields of targets to read besides boxes, labels, areas and crowd regions: ``masks``, ``label_map``,
            ``panoptic_map``.
        on_bad_image: as of `CocoDataset`.
        on_bad_box: as of `CocoDataset`.

    Raises:
        InputError: the file is wrong, or an image or a PNG is missing.
    """

    readable = frozenset({"masks", "label_map", "panoptic_map"})
    called = "a panoptic file of COCO"
    advice = "give the file of instances"
    of_maps = True

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        maps: str | Path | None = None,
        reads: Collection[str] = (),
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
    ) -> None:
        path = Path(annotations)
        beside = [path.with_suffix(""), path.parent.parent / path.stem]
        self.maps_path = Path(maps) if maps else next((one for one in beside if one.is_dir()), beside[0])
        self._on_bad_box: OnBad = on_bad_box
        super().__init__(Path(images), path, reads, on_bad_image)

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        content, source = read_panoptic_file(self.annotations_path), str(self.annotations_path)
        categories = read_listed_categories(content["categories"], source)
        images = panoptic_images(content, source)
        things = {category.id for category in categories if category.is_thing}
        objects: list[dict[str, Any]] = []
        for entry in content["annotations"]:
            for segment in entry["segments_info"]:
                if segment["category_id"] in things:
                    own = {"id": len(objects) + 1, "image_id": entry["image_id"], "segment_id": segment["id"]}
                    objects.append({**segment, **own})
        self._files = PanopticFiles.pack(
            [image.get("id") for image in content["images"]], images, self.maps_path, categories, self.annotations_path
        )
        return pack_annotations(
            {**content, "annotations": objects},
            self.annotations_path,
            self._size_in_file(on_bad_image),
            self.readable,
            self._on_bad_box,
            self.images_path,
            {name: _Reader(self._files, name) for name in self.readable},
        )

    def ground_truth(self) -> dict:
        """The content of a COCO file; with the masks of all objects where these are read."""
        content = self._packed.to_coco()
        if "masks" not in self.reads:
            return content
        entries = iter(content["annotations"])
        for index in range(len(self)):
            masks = self.target(index).masks
            runs = masks_to_rle(masks).to_coco() if masks is not None else ()
            for one in runs:
                next(entries)["segmentation"] = {"size": one["size"], "counts": one["counts"].decode("ascii")}
        return content


@dataclass(frozen=True)
class _Reader(FieldReader):
    """Gives a field from the panoptic maps of all images."""

    files: PanopticFiles
    name: str

    @property
    def per_object(self) -> bool:  # type: ignore[override]
        return self.name == "masks"

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> Column:
        if self.name == "panoptic_map":
            return self.files
        if self.name == "label_map":
            return SegmentClasses(self.files, file.categories)
        rows = {image_id: row for row, image_id in enumerate(file.image_sizes)}
        return SegmentMasks(
            self.files,
            np.array([rows[entry["image_id"]] for entry in entries], dtype=np.int64),
            np.array([entry["segment_id"] for entry in entries], dtype=np.int32),
        )


@dataclass(frozen=True)
class SegmentClasses(Column):
    """The label map of each image, from its panoptic map.

    Args:
        files: the panoptic maps.
        categories: in the order of the labels.
    """

    files: PanopticFiles
    categories: Sequence[Category]

    per_object = False

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, files=self.files.select(rows))

    def field(self, rows: slice, image: ImageFacts) -> Tensor | None:
        panoptic = self.files.field(rows, image)
        if panoptic is None:
            return None
        dtype = label_map_dtype(len(self.categories))
        return torch.where(panoptic < 0, IGNORE_INDEX[dtype], panoptic // INSTANCES).to(dtype)


@dataclass(frozen=True)
class SegmentMasks(Column):
    """The mask of each object: a segment of its image's panoptic map.

    Args:
        files: the panoptic maps of all images.
        images: ``(m,)`` the row of each object's image in `files`.
        segments: ``(m,)`` int32 the id of its segment.
    """

    files: PanopticFiles
    images: np.ndarray
    segments: np.ndarray

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, images=self.images[rows], segments=self.segments[rows])

    def field(self, rows: slice, image: ImageFacts) -> Tensor:
        own = self.segments[rows]
        if not len(own):
            return torch.zeros((0, *image.size), dtype=torch.bool)
        pixels = self.files.segment_ids(int(self.images[rows.start]), image)
        assert pixels is not None  # objects come from an annotation with a PNG
        return torch.from_numpy(pixels == own[:, None, None])


def find_panoptic_file(root: Path, split: str) -> Path | None:
    """The file ``panoptic_{split}.json`` or ``panoptic_{split}20XX.json`` of a folder; None where there is none."""
    names = ("val", "valid") if split == "val" else (split,)
    patterns = [f"{folder}panoptic_{name}{year}.json" for name in names for folder in ("annotations/", "")
                for year in ("", "20??")]  # fmt: skip
    return next((path for pattern in patterns for path in visible(root.glob(pattern), root)), None)


def open_panoptic(
    root: Path, split: str, reads: Collection[str], on_bad_image: OnBad, on_bad_box: OnBad
) -> CocoPanopticDataset:
    """A split of a folder with panoptic files; see `find_panoptic_file` and `CocoPanopticDataset`.

    Raises:
        InputError: there is no such file.
    """
    path = find_panoptic_file(root, split)
    if path is None:
        raise InputError(
            f"{root}: there is no panoptic file of the split {split}, such as annotations/panoptic_{split}2017.json "
            f"with its PNGs in annotations/panoptic_{split}2017/"
        )
    images = find_images(root, split, path, any_folder=True)
    return CocoPanopticDataset(images, path, None, reads, on_bad_image, on_bad_box)
