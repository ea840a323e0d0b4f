"""Read a COCO annotation file for training: it is checked and packed into a few numpy arrays.

This reader defines what training accepts; `detkit.evaluation.files.annotations_file` reads the same files as ground
truth and defines what evaluation accepts.

Format: Lin et al., "Microsoft COCO", 2014, https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from detkit.data.formats.field_readers import COCO_READERS, CocoFile, FieldReader
from detkit.data.packed.columns import BoxRows, Column, LabelRows, ObjectRows
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers
from detkit.structures.categories import Category, entries_in, from_coco

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
    categories = _categories(content["categories"], path)
    images = _images(content["images"], path, size_of)
    annotations = content["annotations"]
    image_of = _lookup([image["id"] for image in content["images"]], "image", path)
    label_of = _lookup([category.id for category in categories], "category", path)
    _lookup([annotation["id"] for annotation in annotations if "id" in annotation], "annotation", path)
    rows = _references(annotations, "image_id", image_of, path)
    labels = _references(annotations, "category_id", label_of, path)
    boxes, bad = _boxes(annotations, images[2][rows], path)
    kept = _rows_with_good_boxes(annotations, bad, path, on_bad_box)
    order = kept[np.argsort(rows[kept], kind="stable")]
    boxes = boxes[order]
    kept_annotations = [annotations[index] for index in order]
    columns: dict[str, Column | None] = {
        "boxes": BoxRows(boxes.astype(np.float32)),
        "labels": LabelRows(labels[order], ids=tuple(category.id for category in categories)),
        "area": ObjectRows(_areas(kept_annotations, boxes), "area"),
        "iscrowd": ObjectRows(
            np.array([bool(one.get("iscrowd")) or bool(one.get("ignore")) for one in kept_annotations], dtype=bool),
            "iscrowd",
        ),
        "difficult": _difficult(kept_annotations),
    }
    file = CocoFile(path, images_path or path.parent, categories)
    for name in reads:
        if name in readers:
            columns[name] = readers[name].read(
                kept_annotations if readers[name].per_object else content["images"], file
            )
    return PackedAnnotations(
        categories=categories,
        image_ids=images[0],
        file_names=images[1],
        image_sizes=images[2],
        offsets=np.searchsorted(rows[order], np.arange(len(images[0]) + 1)).astype(np.int64),
        columns={name: column for name, column in columns.items() if column is not None},
        dropped=[annotations[index].get("id", index) for index in np.flatnonzero(bad)],
    )


def read_coco_file(path: str | Path) -> dict[str, Any]:
    """Read the content of a COCO file, checked to be an object with the lists `images`, `annotations` and `categories`.

    Raises:
        InputError: not readable, not JSON, or a list is missing.
    """
    try:
        content = json.loads(Path(path).read_bytes())
    except OSError as error:
        raise InputError(f"{path}: cannot read this annotation file ({error.strerror})") from error
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not a whole JSON file ({error}); copy or export it again") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a COCO file is a JSON object, this one holds a {type(content).__name__}")
    for key in ("images", "annotations", "categories"):
        if not isinstance(content.get(key), list):
            raise InputError(f"{path}: the list '{key}' is missing; a COCO file has images, annotations and categories")
        for position, entry in enumerate(content[key]):
            if not isinstance(entry, dict):
                raise InputError(f"{path}: {key}[{position}] is a {type(entry).__name__}, not an object")
    return content


def read_categories(path: str | Path) -> list[Category] | None:
    """Read the classes of a COCO file, sorted by id, without parsing the rest; None where that is impossible."""
    try:
        entries = entries_in(Path(path).read_bytes())
    except OSError:
        return None
    return [from_coco(entry, str(path)) for entry in entries] if entries else None


def _categories(entries: list[dict], path: Path) -> list[Category]:
    if not entries:
        raise InputError(f"{path}: the list 'categories' is empty, so there is nothing to detect")
    for position, entry in enumerate(entries):
        if not isinstance(entry.get("id"), int) or not isinstance(entry.get("name"), str):
            raise InputError(f"{path}: categories[{position}] needs an integer 'id' and a 'name'")
    return sorted((from_coco(entry, str(path)) for entry in entries), key=lambda category: category.id)


def _images(
    entries: list[dict], path: Path, size_of: Callable[[str], tuple[int, int]]
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Ids, file names and sizes."""
    if not entries:
        raise InputError(f"{path}: the list 'images' is empty, so there is nothing to train on or to evaluate")
    for position, entry in enumerate(entries):
        for key in ("id", "file_name"):
            if key not in entry:
                raise InputError(f"{path}: images[{position}] has no '{key}'")
        if not isinstance(entry["file_name"], str):
            raise InputError(f"{path}: images[{position}] has file_name {entry['file_name']!r}, which is not a string")
    ids = [entry["id"] for entry in entries]
    kinds = {type(value) for value in ids}
    if kinds not in ({int}, {str}):
        raise InputError(
            f"{path}: image ids must be all integers or all strings, found {sorted(kind.__name__ for kind in kinds)}"
        )
    sizes = [_stated_size(entry, path) or size_of(entry["file_name"]) for entry in entries]
    return np.array(ids), np.array([entry["file_name"] for entry in entries]), np.array(sizes, dtype=np.int64)


def _stated_size(entry: dict, path: Path) -> tuple[int, int] | None:
    height, width = entry.get("height"), entry.get("width")
    if not height or not width:
        return None
    if not all(isinstance(side, (int, float)) and side > 0 and side == int(side) for side in (height, width)):
        raise InputError(f"{path}: image {entry['id']!r} has width {width!r} and height {height!r}, not whole pixels")
    return int(height), int(width)


def _lookup(ids: Sequence[Any], kind: str, path: Path) -> dict[Any, int]:
    positions: dict[Any, int] = {}
    for position, value in enumerate(ids):
        if not isinstance(value, (int, str)):
            raise InputError(f"{path}: {kind} id {value!r} is a {type(value).__name__}, not an integer or a string")
        if positions.setdefault(value, position) != position:
            raise InputError(f"{path}: {kind} id {value!r} is used twice; give every {kind} its own id")
    return positions


def _references(annotations: list[dict], key: str, positions: dict[Any, int], path: Path) -> np.ndarray:
    """The position that each annotation's `key` refers to."""
    rows = np.empty(len(annotations), dtype=np.int64)
    for row, annotation in enumerate(annotations):
        if key not in annotation:
            raise InputError(f"{path}: {_name(annotation, row)} has no '{key}'")
        value = annotation[key]
        if not isinstance(value, (int, str)) or value not in positions:
            raise InputError(
                f"{path}: {_name(annotation, row)} refers to {key} {value!r}, which the file does not have"
            )
        rows[row] = positions[value]
    return rows


def _name(annotation: dict, row: int) -> str:
    return f"annotation {annotation['id']!r}" if "id" in annotation else f"annotations[{row}]"


def _boxes(annotations: list[dict], sizes: np.ndarray, path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Clipped corners ``(m, 4)`` float64, and which are bad ``(m,)``: without area, or outside the image."""
    raw = np.empty((len(annotations), 4))
    for row, annotation in enumerate(annotations):
        box = annotation.get("bbox")
        if not is_finite_numbers(box, 4):
            raise InputError(
                f"{path}: {_name(annotation, row)} of image {annotation['image_id']!r} has bbox {box!r}; "
                "it must be four finite numbers: x, y, width, height"
            )
        raw[row] = box
    corners = np.concatenate([raw[:, :2], raw[:, :2] + raw[:, 2:]], axis=1)
    limits = np.tile(sizes[:, ::-1], 2)
    clipped = np.clip(corners, 0, limits)
    bad = ~((raw[:, 2:] > 0).all(axis=1) & _has_area(clipped))
    moved = (np.abs(clipped - corners).max(axis=1, initial=0) > 1) & ~bad
    if moved.any():
        first = annotations[np.flatnonzero(moved)[0]]
        logger.warning(
            "%s: %d of %d boxes reach more than a pixel out of their image (first: annotation %r of image %r); "
            "they were clipped to it",
            path, moved.sum(), len(moved), first.get("id"), first["image_id"],
        )  # fmt: skip
    return clipped, bad


def _has_area(corners: np.ndarray) -> np.ndarray:
    corners = corners.astype(np.float32)
    return (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])


def _rows_with_good_boxes(annotations: list[dict], bad: np.ndarray, path: Path, on_bad_box: OnBad) -> np.ndarray:
    """The rows of good boxes; bad ones raise, or are left out with a warning."""
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        first = annotations[row]
        what = (
            f"{path}: {bad.sum()} of {len(bad)} boxes have no area or lie outside their image "
            f"(first: {_name(first, row)} of image {first['image_id']!r}, bbox {first['bbox']})"
        )
        if on_bad_box == "error":
            raise InputError(f"{what}; correct them, or leave them out with --data.on_bad_box skip")
        logger.warning("%s; they were left out", what)
    return np.flatnonzero(~bad)


def _difficult(annotations: list[dict]) -> ObjectRows | None:
    if not any("difficult" in annotation for annotation in annotations):
        return None
    return ObjectRows(np.array([bool(one.get("difficult")) for one in annotations], dtype=bool), "difficult")


def _areas(annotations: list[dict], boxes: np.ndarray) -> np.ndarray:
    """The annotated areas, or those of the boxes where the file has none."""
    areas = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    for row, annotation in enumerate(annotations):
        if is_finite_numbers([annotation.get("area")]):
            areas[row] = annotation["area"]
    return areas.astype(np.float32)
