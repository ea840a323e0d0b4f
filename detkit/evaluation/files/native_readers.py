"""The native reader of annotations, the fast path for COCO files without faults; it gives up on anything unusual.

The reader in `annotations_file` is authoritative: it takes every other file, completes it, and says what is wrong
where.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from detkit.coco_files import read_listed_categories
from detkit.deprecation import moved_names
from detkit.evaluation.files.json_columns import Columns, Keys, Kind, Segmentations, present_columns, read_json_columns
from detkit.evaluation.files.ordinary_annotations import are_ordinary, warn_of_oddities
from detkit.evaluation.ground_truth import GroundTruth, IouType, images_to_evaluate, positions, positions_by_id
from detkit.evaluation.packed_objects import Masks, PackedObjects, Ragged
from detkit.structures import Category
from detkit.structures.categories import entries_in

__getattr__ = moved_names(__name__, {"read_results": "detkit.evaluation.files.native_results.read_results"})

_IMAGES: dict[str, Kind] = {"id": "key", "height": "number", "width": "number"}
_IMAGE_NAMES: dict[str, Kind] = {"file_name": "key"}
_CATEGORIES: dict[str, Kind] = {"id": "key", "name": "key", "isthing": "flag"}
_ANNOTATIONS: dict[str, Kind] = {
    "image_id": "key",
    "category_id": "key",
    "id": "number",
    "bbox": "numbers",
    "area": "number",
    "iscrowd": "flag",
    "ignore": "flag",
    "difficult": "flag",
}
_ANNOTATED: dict[IouType, dict[str, Kind]] = {
    "bbox": {},
    "segm": {"segmentation": "mask"},
    "keypoints": {"keypoints": "numbers", "num_keypoints": "number"},
}


def read_annotations(path: Path, source: str, iou_type: IouType, requested: list[Any] | None) -> GroundTruth | None:
    """Read the ground truth of an annotation file in which nothing is missing; None for any other file.

    Args:
        path: the JSON file.
        source: how messages name it.
        iou_type: what will be compared.
        requested: ids of the images to evaluate; None for all.

    Raises:
        InputError: a requested image is not in the file.
    """
    images = _IMAGES | present_columns(path, _IMAGE_NAMES)
    lists = {"images": images, "categories": _CATEGORIES, "annotations": _ANNOTATIONS | _ANNOTATED[iou_type]}
    read = read_json_columns(path, lists)
    if read is None or not are_ordinary(read):
        return None
    ids, category_ids = read["images"].keys_of("id").as_list(), read["categories"].keys_of("id").as_list()
    ordered = images_to_evaluate(ids, requested, source)
    sizes = _sizes(ids, read["images"])
    names = dict(zip(category_ids, map(str, read["categories"].keys_of("name").as_list()), strict=True))
    categories = [Category(key, name) for key, name in sorted(names.items())]
    if iou_type == "keypoints":
        entries = entries_in(path.read_bytes())
        if entries is None:  # what further belongs to the categories is not known
            return None
        categories = read_listed_categories(entries, source)
    try:
        objects = _objects(read["annotations"], iou_type, positions(ordered), positions_by_id(categories), sizes)
    except (ValueError, RuntimeError):
        return None
    ignore = read["annotations"].numbers("ignore")
    warn_of_oddities(source, int((ignore == 1).sum()))
    image_names = _names(ids, read["images"])
    if requested is not None:
        sizes = {key: sizes[key] for key in ordered if key in sizes}
        image_names = {key: image_names[key] for key in ordered if key in image_names}
    return GroundTruth(source, categories, ordered, sizes, objects, image_names)


def _names(ids: list[Any], images: Columns) -> dict[Any, str]:
    """The file names of images."""
    if "file_name" not in images:
        return {}
    pairs = zip(ids, images.keys_of("file_name").as_list(), strict=True)
    return {key: name for key, name in pairs if isinstance(name, str)}


def _sizes(ids: list[Any], images: Columns) -> dict[Any, tuple[int, int]]:
    """``(height, width)`` of the images whose sides are both stated."""
    heights, widths = (np.nan_to_num(images.numbers(name)).astype(np.int64).tolist() for name in ("height", "width"))
    return {key: (height, width) for key, height, width in zip(ids, heights, widths, strict=True) if height and width}


def _objects(
    columns: Columns,
    iou_type: IouType,
    image_numbers: dict[Any, int],
    category_positions: dict[Any, int],
    sizes: dict[Any, tuple[int, int]],
) -> PackedObjects:
    """The annotations of the given images.

    Raises:
        ValueError: masks or keypoints are missing or wrong.
        RuntimeError: a mask is malformed.
    """
    image_ids = columns.keys_of("image_id")
    images = image_ids.positions(image_numbers)
    categories = columns.keys_of("category_id").positions(category_positions)
    is_kept = images >= 0
    kept = slice(None) if is_kept.all() else np.flatnonzero(is_kept)
    masks = _filled(columns.masks("segmentation"), image_ids, sizes, is_kept) if iou_type == "segm" else None
    keypoints = _keypoints(columns.rows("keypoints"))[kept] if iou_type == "keypoints" else None
    return PackedObjects(
        images=images[kept],
        categories=categories[kept],
        boxes=columns.rows("bbox").table(4)[kept],
        areas=columns.numbers("area")[kept],
        iscrowd=(_truths(columns.numbers("iscrowd")) | _truths(columns.numbers("ignore")))[kept],
        difficult=_truths(columns.numbers("difficult"))[kept],
        masks=masks,
        keypoints=keypoints,
        num_keypoints=None
        if keypoints is None
        else _numbers_of_keypoints(columns.numbers("num_keypoints")[kept], keypoints),
    )


def _truths(column: np.ndarray) -> np.ndarray:
    return np.nan_to_num(column) != 0


def _filled(segmentations: Segmentations, image_ids: Keys, sizes: dict, is_kept: np.ndarray) -> Masks:
    """The masks of the objects that are kept."""
    unknown = (0, 0)
    size_of_id = np.array([sizes.get(key, unknown) for key in image_ids.values], dtype=np.int64).reshape(-1, 2)
    object_sizes = size_of_id[image_ids.index]
    has_polygons, has_run_lengths = segmentations.has_polygons, segmentations.has_run_lengths
    has_mask = has_polygons | (has_run_lengths & (segmentations.masks.sizes == object_sizes).all(axis=1))
    if not (has_mask & object_sizes.any(axis=1))[is_kept].all() or (np.diff(segmentations.polygons) < 3).any():
        raise ValueError("an object has no mask of its image")
    masks = segmentations.filled(object_sizes)
    masks = masks if is_kept.all() else masks.select(np.flatnonzero(is_kept))
    masks.measures  # noqa: B018 (raises if a mask is malformed)
    return masks


def _keypoints(column: Ragged) -> np.ndarray:
    """``(N, J, 3)``, zeros for an object without keypoints."""
    width = int(column.lengths.max(initial=0))
    if width == 0 or width % 3:
        raise ValueError("keypoints are not x, y, visibility")
    return column.table_or_zeros(width).reshape(len(column), -1, 3)


def _numbers_of_keypoints(column: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """The stated numbers, or else counts of the labeled keypoints."""
    counts = np.where(np.isnan(column), (keypoints[..., 2] > 0).sum(axis=1), column)
    if (counts < 0).any() or (counts % 1).any():
        raise ValueError("a number of keypoints is negative or no integer")
    return counts.astype(np.int64)
