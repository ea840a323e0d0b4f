"""The annotations of a COCO file: what training and evaluation both need of each object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, NoReturn

import numpy as np

from detkit.coco_files.entry_lists import EntryList
from detkit.coco_files.listed_images import ListedImages
from detkit.coco_files.segmentations import Rings, Segmentation, encode_masks, read_segmentations
from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.structures import Category

_BOX = "it must be four finite numbers: x, y, width, height"


@dataclass(frozen=True, eq=False)
class ListedObjects:
    """The N annotations of a file, in its order.

    Args:
        listed: their entries.
        images: int64 ``(N,)`` the position of each one's image in the list.
        labels: int64 ``(N,)`` the position of each one's category among those sorted by id.
        boxes: float64 ``(N, 4)`` ``x y width height`` as written; where it is missing, the box around the segmentation.
        areas: float64 ``(N,)`` as written; where it is missing, that of the segmentation, or else of the box.
        iscrowd: bool ``(N,)`` objects that need not be detected: ``iscrowd`` or ``ignore``.
        difficult: bool ``(N,)``.
        segmentations: of each, None where there is none; None where they were not asked for.
    """

    listed: EntryList
    images: np.ndarray
    labels: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    iscrowd: np.ndarray
    difficult: np.ndarray
    segmentations: list[Segmentation | None] | None

    def __len__(self) -> int:
        return len(self.listed)


def read_objects(
    entries: Sequence[dict[str, Any]],
    images: ListedImages,
    categories: Sequence[Category],
    source: str,
    with_masks: bool = False,
    start: int = 0,
) -> ListedObjects:
    """Read and check the list `annotations` of a COCO file, or a part of it from the entry `start` on.

    Segmentations are only looked at with `with_masks`, and where they must give a missing box or area.

    Raises:
        InputError: a value is wrong, or an annotation is of an image or a category that the file does not list.
    """
    listed = EntryList(entries, "annotation", source, start=start)
    _check_own_ids(listed)
    image_rows = _references(listed, "image_id", images.positions)
    labels = _references(listed, "category_id", {category.id: label for label, category in enumerate(categories)})
    boxes = listed.rows("bbox", 4, _BOX)
    areas = _stated_areas(listed)
    iscrowd = listed.flags("iscrowd") | listed.flags("ignore")
    difficult = listed.flags("difficult")
    segmentations = read_segmentations(listed) if with_masks else None
    _derive(listed, images.sizes[image_rows], boxes, areas, segmentations)
    for row in np.flatnonzero(np.isnan(boxes).any(axis=1))[:1].tolist():
        listed.fail(row, f"has bbox {shown(entries[row].get('bbox'))} and no segmentation to take it from; {_BOX}")
    return ListedObjects(listed, image_rows, labels, boxes, areas, iscrowd, difficult, segmentations)


def _stated_areas(listed: EntryList) -> np.ndarray:
    areas = listed.numbers("area")
    for row in np.flatnonzero(areas < 0)[:1].tolist():
        listed.fail(row, f"has area {areas[row]:g}; give a number of square pixels or leave it out")
    return areas


def _check_own_ids(listed: EntryList) -> None:
    """Ids of annotations may be missing, but not be wrong or shared."""
    if None not in (own := listed.values("id")):
        return listed.check_unique(listed.ids("id"))
    named = EntryList([entry for entry in listed.entries if entry.get("id") is not None], "annotation", listed.source)
    if len(named) < len(own):
        named.check_unique(named.ids("id"))


def _references(listed: EntryList, key: str, positions: Mapping[Any, int]) -> np.ndarray:
    """The position of what the `key` of each annotation refers to."""
    values = listed.ids(key)
    rows = np.array([positions.get(value, -1) for value in values], dtype=np.int64)
    unknown = np.flatnonzero(rows < 0)
    if len(unknown):
        first = int(unknown[0])
        known = ", ".join(shown(one) for one in islice(positions, 3)) + (", …" if len(positions) > 3 else "")
        number = f"{len(unknown)} of {len(rows)} annotations are such; " if len(unknown) > 1 else ""
        raise InputError(
            f"{listed.source}: {listed.short_name(first)} refers to {key} {shown(values[first])}, which the file does "
            f"not have ({number}its ids are {known or 'none'}); correct the ids, or remove such annotations"
        )
    return rows


def _derive(
    listed: EntryList,
    sizes: np.ndarray,
    boxes: np.ndarray,
    areas: np.ndarray,
    segmentations: Sequence[Segmentation | None] | None,
) -> None:
    """Fill in missing boxes and areas."""
    has_box = ~np.isnan(boxes[:, 0])
    rows = np.flatnonzero(~has_box | np.isnan(areas)).tolist()
    if not rows:
        return
    own = read_segmentations(listed, rows) if segmentations is None else [segmentations[row] for row in rows]
    measured = [
        (row, one)
        for row, one in zip(rows, own, strict=True)
        if one and (not isinstance(one, list) or sizes[row].any())
    ]
    if measured:
        measured_rows, shapes = map(list, zip(*measured, strict=True))
        masks = encode_masks(listed, measured_rows, shapes, sizes[measured_rows])
        areas[measured_rows] = np.where(np.isnan(areas[measured_rows]), masks.areas, areas[measured_rows])
        boxes[measured_rows] = np.where(has_box[measured_rows, None], boxes[measured_rows], masks.boxes)
    for row, one in zip(rows, own, strict=True):
        if one and not has_box[row] and isinstance(one, list):
            boxes[row] = _extent(one)
    areas[:] = np.where(np.isnan(areas), _areas_inside(boxes, sizes), areas)


def _areas_inside(boxes: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The areas of the parts of boxes that are inside of their images, where the sizes of these are stated."""
    is_stated = sizes[:, :1] > 0
    limits, least = np.where(is_stated, sizes[:, ::-1], np.inf), np.where(is_stated, 0.0, -np.inf)
    low, high = (np.clip(corner, least, limits) for corner in (boxes[:, :2], boxes[:, :2] + boxes[:, 2:]))
    areas: np.ndarray = (high - low).clip(0).prod(axis=1)
    return areas


def _extent(rings: Rings) -> list[float]:
    """The box ``x y width height`` around polygons."""
    x, y = [value for ring in rings for value in ring[0::2]], [value for ring in rings for value in ring[1::2]]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def fail_boxes(objects: ListedObjects, bad: np.ndarray) -> NoReturn:
    """Raise the `InputError` that says which boxes are bad."""
    raise InputError(f"{bad_boxes(objects, bad)}; correct them, or leave them out with --data.on_bad_box skip")


def bad_boxes(objects: ListedObjects, bad: np.ndarray) -> str:
    """The sentence that says which boxes are bad.

    Args:
        objects: all of the file.
        bad: bool ``(N,)``.
    """
    first = int(np.flatnonzero(bad)[0])
    return (
        f"{objects.listed.source}: {bad.sum()} of {len(bad)} boxes have no area or lie outside their image "
        f"(first: {objects.listed.name(first)}, bbox {objects.boxes[first].tolist()})"
    )
