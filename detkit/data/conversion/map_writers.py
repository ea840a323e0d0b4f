"""Write data sets as folders of label maps, or in COCO's panoptic format."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from detkit.coco_files import Segment, ids_to_colors, segment_entries
from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.writers import AnnotatedSplit, PutImage, suffix_of_copy, unique_stems
from detkit.data.instance_maps.painted_masks import paint_masks
from detkit.errors import InputError
from detkit.files import write_into
from detkit.ops import rle_to_masks
from detkit.structures import Category, Target
from detkit.structures.categories import to_coco
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES

WrittenMaps = Literal["maps", "coco_panoptic"]

MAP_LAYOUTS: dict[WrittenMaps, tuple[str, ...]] = {
    "maps": ("classes.json", "images", "masks"),
    "coco_panoptic": ("annotations", "images"),
}
"""The files and folders that each writer creates."""


@dataclass
class Written:
    """What a writer has done.

    Args:
        images: the number of images of each split.
        segments: of the classes, or the objects and regions, in all maps of each split.
        overlaps: the number of images with objects that overlap.
    """

    images: dict[str, int]
    segments: dict[str, int]
    overlaps: int = 0


def write_map_splits(
    splits: Sequence[tuple[str, DetectionDataset]], folder: Path, to: WrittenMaps, put_image: PutImage
) -> Written:
    """Write ``images/{split}/`` with ``masks/{split}/`` and ``classes.json``, or with ``annotations/panoptic_{split}``.

    The maps of a data set with masks are painted from these, see `paint_masks`; pixels without an object are a class
    ``background``, or void in COCO's format.

    Args:
        splits: the name of each, and its data set, which reads what `field_of_maps` says.
        folder: to write into.
        to: the format.
        put_image: copies or links an image file.

    Raises:
        InputError: a map or mask is wrong or missing, or splits have different classes.
    """
    first = splits[0][1].categories
    categories = _with_background(first) if to == "maps" and field_of_maps(splits[0][1], to) == "masks" else first
    done = Written({}, {})
    for name, dataset in splits:
        if [one.name for one in dataset.categories] != [one.name for one in first]:
            raise InputError(f"the split '{name}' has other classes than '{splits[0][0]}'; all must have the same ones")
        written = _panoptic_split if to == "coco_panoptic" else _label_maps_split
        done.images[name] = len(dataset)
        done.segments[name] = written(
            name, dataset, categories, folder, _images(name, dataset, folder, put_image), done
        )
    if to == "maps":
        classes = [
            {"name": one.name, "value": label, "isthing": int(one.is_thing)} for label, one in enumerate(categories)
        ]
        ignore = [255 if len(categories) <= 254 else 65535]
        write_into(folder, "classes.json", json.dumps({"classes": classes, "ignore": ignore}, indent=1))
    return done


def field_of_maps(dataset: DetectionDataset, to: WrittenMaps) -> str:
    """The field of targets that is written.

    Raises:
        InputError: the data set has none that can be.
    """
    fields = ("panoptic_map", "masks") if to == "coco_panoptic" else ("label_map", "masks")
    for name in fields if dataset.of_maps else ("masks",):
        if name in dataset.readable:
            return name
    raise InputError(
        f"{dataset.annotations_path}: its label maps do not tell instances apart, as {to} does; convert it "
        "to coco first, with --components"
    )


_Numbered = Iterator[tuple[int, str, Target]]


def _images(split: str, dataset: DetectionDataset, folder: Path, put_image: PutImage) -> _Numbered:
    """Put each image; its number, its name and its target."""
    packed = dataset.packed_annotations
    entries = packed.to_coco()["images"]
    whole = AnnotatedSplit(split, {"images": entries, "annotations": [], "categories": []}, dataset.images_path)
    stems = unique_stems([whole])
    (folder / "images" / split).mkdir(parents=True)
    for index, entry in enumerate(entries):
        file = whole.file_of(entry)
        name = f"{stems[file]}{suffix_of_copy(file)}"
        put_image(file, folder / "images" / split / name, entry)
        yield index, name, dataset.target(index)


def _label_maps_split(
    split: str,
    dataset: DetectionDataset,
    categories: Sequence[Category],
    folder: Path,
    images: _Numbered,
    done: Written,
) -> int:
    classes = 0
    for _, name, target in images:
        if target.label_map is not None:
            labels = target.label_map.numpy()
            ignore = IGNORE_INDEX[target.label_map.dtype]
            values = np.where(labels == ignore, 65535 if ignore == -1 else 255, labels)
        else:
            panoptic = _painted(target, done)
            values = np.where(panoptic < 0, 0, panoptic // INSTANCES + 1)
        classes += len(np.unique(values))
        dtype = np.uint8 if len(categories) <= 254 else np.uint16
        _write_png(folder, f"masks/{split}/{Path(name).stem}.png", values.astype(dtype))
    return classes


def _panoptic_split(
    split: str,
    dataset: DetectionDataset,
    categories: Sequence[Category],
    folder: Path,
    images: _Numbered,
    done: Written,
) -> int:
    entries: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    segments = 0
    for index, name, target in images:
        panoptic = _painted(target, done) if target.panoptic_map is None else target.panoptic_map.numpy()
        present = np.unique(panoptic[panoptic >= 0])
        ids = np.where(panoptic < 0, 0, np.searchsorted(present, panoptic) + 1)
        own = []
        for number, value in enumerate(present.tolist(), start=1):
            category = categories[value // INSTANCES]
            own.append(Segment(number, category.id, category.is_thing and value % INSTANCES == 0))
        png = f"{Path(name).stem}.png"
        _write_png(folder, f"annotations/panoptic_{split}/{png}", ids_to_colors(ids)[..., ::-1])
        height, width = panoptic.shape
        entries.append({"id": index + 1, "file_name": name, "height": height, "width": width})
        annotations.append({"image_id": index + 1, "file_name": png, "segments_info": segment_entries(ids, own)})
        segments += len(own)
    listed = [{"isthing": int(one.is_thing), **to_coco(one)} for one in categories]
    content = {"images": entries, "annotations": annotations, "categories": listed}
    write_into(folder, f"annotations/panoptic_{split}.json", json.dumps(content, ensure_ascii=False))
    return segments


def _painted(target: Target, done: Written) -> np.ndarray:
    if target.masks is None or target.labels is None:
        raise InputError(f"image {target.image_id!r} has neither masks nor a map, so it has no pixels to write")
    done.overlaps += bool((rle_to_masks(target.masks).sum(dim=0) > 1).any())
    painted: np.ndarray = paint_masks(target.masks, target.labels, target.iscrowd).numpy()
    return painted


def _with_background(categories: Sequence[Category]) -> list[Category]:
    if any(category.name.casefold() == "background" for category in categories):
        raise InputError("a class is called background already; rename it, since pixels without objects become that")
    return [Category(0, "background", is_thing=False), *categories]


def _write_png(folder: Path, name: str, pixels: np.ndarray) -> None:
    _, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    write_into(folder, name, data.tobytes())
