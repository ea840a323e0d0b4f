"""Read a COCO annotation file for training: it is packed into a few numpy arrays.

What is checked and completed is the same for evaluation; see `detkit.coco_files`. Training further needs boxes that
have an area within their image.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, Literal

import numpy as np

from detkit.coco_files import (
    ListedImages,
    ListedObjects,
    check_coco_content,
    read_coco_file,
    read_images,
    read_listed_categories,
    read_objects,
)
from detkit.coco_files.listed_objects import bad_boxes, fail_boxes
from detkit.data.formats.field_readers import COCO_READERS, CocoFile, FieldReader
from detkit.data.packed.columns import BoxRows, Column, LabelRows, ObjectRows
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.structures.categories import Category, entries_in, from_coco

__all__ = ["OnBad", "pack_annotations", "read_annotations", "read_categories", "read_coco_file"]

logger = logging.getLogger(__name__)

OnBad = Literal["error", "skip"]


def read_annotations(
    path: str | Path,
    size_of: Callable[[str], tuple[int, int]],
    reads: Collection[str] = (),
    on_bad_box: OnBad = "error",
    images_path: Path | None = None,
    readers: Mapping[str, FieldReader] = COCO_READERS,
) -> PackedAnnotations:
    """Read, check and pack a COCO annotation file.

    Args:
        path: the JSON file.
        size_of: gives ``(height, width)`` of a file name, called for images whose size the JSON does not state.
        reads: the fields of targets to read besides boxes, labels, areas and crowd regions.
        on_bad_box: whether a box without area or outside its image is an error, or left out with a warning.
        images_path: the folder that file names are relative to.
        readers: the reader of each field.

    Raises:
        InputError: the file is no COCO annotation file, or contradicts itself; the message names the ids.
    """
    return pack_annotations(read_coco_file(path), Path(path), size_of, reads, on_bad_box, images_path, readers)


def pack_annotations(
    content: dict[str, Any],
    path: Path,
    size_of: Callable[[str], tuple[int, int]],
    reads: Collection[str] = (),
    on_bad_box: OnBad = "error",
    images_path: Path | None = None,
    readers: Mapping[str, FieldReader] = COCO_READERS,
) -> PackedAnnotations:
    """As `read_annotations`, for the content of a COCO file; messages name `path`."""
    source = str(path)
    check_coco_content(content, source)
    categories = read_listed_categories(content["categories"], source)
    images = read_images(content["images"], source)
    file_names = images.listed.texts("file_name")
    sizes = _sizes(images, file_names, size_of)
    objects = read_objects(content["annotations"], images, categories, source)
    boxes, bad = _boxes(objects, sizes[objects.images])
    kept = _rows_with_good_boxes(objects, bad, on_bad_box)
    order = kept[np.argsort(objects.images[kept], kind="stable")]
    columns: dict[str, Column | None] = {
        "boxes": BoxRows(boxes[order].astype(np.float32)),
        "labels": LabelRows(objects.labels[order], ids=tuple(category.id for category in categories)),
        "area": ObjectRows(objects.areas[order].astype(np.float32), "area"),
        "iscrowd": ObjectRows(objects.iscrowd[order], "iscrowd"),
        "difficult": _difficult(objects, order),
    }
    kept_annotations = [objects.listed.entries[row] for row in order.tolist()]
    known_sizes = dict(zip(images.ids, map(tuple, sizes.tolist()), strict=True))
    file = CocoFile(path, images_path or path.parent, categories, known_sizes, content["annotations"])
    for name in reads:
        if name in readers:
            columns[name] = readers[name].read(
                kept_annotations if readers[name].per_object else content["images"], file
            )
    return PackedAnnotations(
        categories=categories,
        image_ids=np.array(images.ids),
        file_names=np.array(file_names),
        image_sizes=sizes,
        offsets=np.searchsorted(objects.images[order], np.arange(len(images.ids) + 1)).astype(np.int64),
        columns={name: column for name, column in columns.items() if column is not None},
        dropped=np.flatnonzero(bad).tolist(),
    )


def read_categories(path: str | Path) -> list[Category] | None:
    """Read the classes of a COCO file, sorted by id, without parsing the rest; None where that is impossible."""
    try:
        entries = entries_in(Path(path).read_bytes())
    except OSError:
        return None
    return [from_coco(entry, str(path)) for entry in entries] if entries else None


def _sizes(images: ListedImages, file_names: list[str], size_of: Callable[[str], tuple[int, int]]) -> np.ndarray:
    """int64 ``(n, 2)`` the stated sizes, or else those of the files."""
    sizes = images.sizes.copy()
    for row in np.flatnonzero(sizes[:, 0] == 0).tolist():
        sizes[row] = size_of(file_names[row])
    return sizes


def _boxes(objects: ListedObjects, sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Clipped corners ``(m, 4)`` float64, and which are bad ``(m,)``: without area, or outside the image."""
    raw = objects.boxes
    corners = np.concatenate([raw[:, :2], raw[:, :2] + raw[:, 2:]], axis=1)
    limits = np.where(np.tile(sizes > 0, 2), np.tile(sizes[:, ::-1], 2), np.inf)  # size 0: an unreadable image
    clipped = np.clip(corners, 0, limits)
    bad = ~((raw[:, 2:] > 0).all(axis=1) & _has_area(clipped))
    moved = (np.abs(clipped - corners).max(axis=1, initial=0) > 1) & ~bad
    if moved.any():
        logger.warning(
            "%s: %d of %d boxes reach more than a pixel out of their image (first: %s); they were clipped to it",
            objects.listed.source, moved.sum(), len(moved), objects.listed.name(int(np.flatnonzero(moved)[0])),
        )  # fmt: skip
    return clipped, bad


def _has_area(corners: np.ndarray) -> np.ndarray:
    corners = corners.astype(np.float32)
    return (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])


def _rows_with_good_boxes(objects: ListedObjects, bad: np.ndarray, on_bad_box: OnBad) -> np.ndarray:
    """The rows of good boxes; bad ones raise, or are left out with a warning."""
    if bad.any() and on_bad_box == "error":
        fail_boxes(objects, bad)
    if bad.any():
        logger.warning("%s; they were left out", bad_boxes(objects, bad))
    return np.flatnonzero(~bad)


def _difficult(objects: ListedObjects, order: np.ndarray) -> ObjectRows | None:
    if not any("difficult" in annotation for annotation in objects.listed.entries):
        return None
    return ObjectRows(objects.difficult[order], "difficult")
