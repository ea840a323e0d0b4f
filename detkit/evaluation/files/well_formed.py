"""COCO files without faults, read fast by native code: whatever is out of the ordinary makes a reader give up.

A file in which something is missing, of another type or written in another way is for the readers in
`annotations_file` and `detections_file`, which take their time, fill in, and say what is wrong where.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from detkit.evaluation.files.json_columns import Column, Keys, Kind, Segmentations, read_json_columns
from detkit.evaluation.ground_truth import GroundTruth, IouType, by_id, positions, visited
from detkit.evaluation.packed_objects import Found, Masks, Objects, Ragged
from detkit.structures import Category
from detkit.structures.categories import entries_in, from_coco

_IMAGES: dict[str, Kind] = {"id": "key", "height": "number", "width": "number"}
_CATEGORIES: dict[str, Kind] = {"id": "key", "name": "key"}
_ANNOTATIONS: dict[str, Kind] = {
    "image_id": "key",
    "category_id": "key",
    "bbox": "numbers",
    "area": "number",
    "iscrowd": "number",
    "difficult": "number",
}
_RESULTS: dict[str, Kind] = {"image_id": "key", "category_id": "key", "score": "number", "bbox": "numbers"}
_ANNOTATED: dict[IouType, dict[str, Kind]] = {
    "bbox": {},
    "segm": {"segmentation": "mask"},
    "keypoints": {"keypoints": "numbers", "num_keypoints": "number"},
}
_FOUND: dict[IouType, dict[str, Kind]] = {
    "bbox": {},
    "segm": {"segmentation": "mask"},
    "keypoints": {"keypoints": "numbers", "segmentation": "mask"},
}

Columns = Mapping[str, Column]


def read_annotations(path: Path, source: str, iou_type: IouType, wanted: list[Any] | None) -> GroundTruth | None:
    """The ground truth of an annotation file in which nothing is missing, and of the `wanted` images; None for any
    other file.

    Raises:
        InputError: a wanted image is not in the file.
    """
    lists = {"images": _IMAGES, "categories": _CATEGORIES, "annotations": _ANNOTATIONS | _ANNOTATED[iou_type]}
    read = read_json_columns(path, lists)
    if read is None:
        return None
    ids, category_ids = read["images"]["id"].as_list(), read["categories"]["id"].as_list()
    if not all(isinstance(key, (int, str)) for key in ids) or not all(isinstance(key, int) for key in category_ids):
        return None
    ordered = visited(ids, wanted, source)
    sizes = _sizes(ids, read["images"])
    names = dict(zip(category_ids, map(str, read["categories"]["name"].as_list()), strict=True))
    categories = [Category(key, name) for key, name in sorted(names.items())]
    if iou_type == "keypoints":
        entries = entries_in(path.read_bytes())
        categories = [from_coco(entry, source) for entry in entries] if entries else categories
    try:
        objects = _objects(read["annotations"], iou_type, positions(ordered), by_id(categories), sizes)
    except (ValueError, RuntimeError):
        return None
    kept = {key: sizes[key] for key in ordered if key in sizes}
    return GroundTruth(source, categories, ordered, kept, objects)


def _sizes(ids: list[Any], images: Columns) -> dict[Any, tuple[int, int]]:
    """``(height, width)`` of the images of which both are known."""
    sides = np.nan_to_num(np.stack((images["height"], images["width"]), axis=1)).astype(np.int64).tolist()
    return {key: (height, width) for key, (height, width) in zip(ids, sides, strict=True) if height and width}


def _objects(
    columns: Columns, iou_type: IouType, numbers: dict, places: dict, sizes: dict[Any, tuple[int, int]]
) -> Objects:
    """The annotations of the images and categories of those `numbers` and `places`; a ValueError or RuntimeError where
    something is missing or wrong."""
    images, categories = columns["image_id"].positions(numbers), columns["category_id"].positions(places)
    is_kept = (images >= 0) & (categories >= 0)
    kept = slice(None) if is_kept.all() else np.flatnonzero(is_kept)
    masks = _filled(columns["segmentation"], columns["image_id"], sizes, is_kept) if iou_type == "segm" else None
    keypoints = _keypoints(columns["keypoints"])[kept] if iou_type == "keypoints" else None
    if np.isnan(columns["area"][kept]).any():
        raise ValueError("an area is missing")
    return Objects(
        images=images[kept],
        categories=categories[kept],
        boxes=columns["bbox"].table(4)[kept],
        areas=columns["area"][kept],
        iscrowd=_truths(columns["iscrowd"])[kept],
        difficult=_truths(columns["difficult"])[kept],
        masks=masks,
        keypoints=keypoints,
        num_keypoints=None if keypoints is None else _numbers_of_keypoints(columns["num_keypoints"][kept], keypoints),
    )


def _truths(column: np.ndarray) -> np.ndarray:
    return np.nan_to_num(column) != 0


def _filled(segmentations: Segmentations, image_ids: Keys, sizes: dict, is_kept: np.ndarray) -> Masks:
    """The masks of the objects that are kept."""
    unknown = (0, 0)
    of_ids = np.array([sizes.get(key, unknown) for key in image_ids.values], dtype=np.int64).reshape(-1, 2)
    of_objects = of_ids[image_ids.index]
    has_polygons, has_run_lengths = segmentations.has_polygons, segmentations.has_run_lengths
    is_right = has_polygons | (has_run_lengths & (segmentations.masks.sizes == of_objects).all(axis=1))
    if not (is_right & of_objects.any(axis=1))[is_kept].all() or (np.diff(segmentations.polygons) < 3).any():
        raise ValueError("an object has no mask of its image")
    masks = segmentations.filled(of_objects)
    masks = masks if is_kept.all() else masks.select(np.flatnonzero(is_kept))
    masks.measures  # noqa: B018 which reads them
    return masks


def _keypoints(column: Ragged) -> np.ndarray:
    """``(N, J, 3)``, zeros for an object without keypoints."""
    width = int(column.lengths.max(initial=0))
    if width == 0 or width % 3:
        raise ValueError("keypoints are not x, y, visibility")
    return column.table_or_zeros(width).reshape(len(column), -1, 3)


def _numbers_of_keypoints(column: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """As the file has them, or else counted."""
    counts = np.where(np.isnan(column), (keypoints[..., 2] > 0).sum(axis=1), column)
    if (counts < 0).any() or (counts % 1).any():
        raise ValueError("a number of keypoints is none")
    return counts.astype(np.int64)


def read_results(path: Path, ground_truth: GroundTruth, iou_type: IouType, joints: int | None) -> Found | None:
    """The entries of a results file that all have what is compared; None for any other."""
    read = read_json_columns(path, {"": _RESULTS | _FOUND[iou_type]})
    if read is None or len(read[""]["score"]) == 0:
        return None
    try:
        return _found(read[""], ground_truth, iou_type, joints)
    except (ValueError, RuntimeError):
        return None


def _found(columns: Columns, ground_truth: GroundTruth, iou_type: IouType, joints: int | None) -> Found:
    """The detections; a ValueError or RuntimeError where something is missing or wrong."""
    images = columns["image_id"].positions(ground_truth.image_numbers)
    categories = columns["category_id"].positions(ground_truth.category_positions)
    if (images < 0).any() or (categories < 0).any() or np.isnan(columns["score"]).any():
        raise ValueError("an image, category or score is missing or unknown")
    # The first entry decides what the areas are those of.
    has_boxes = columns["bbox"].lengths[0] > 0
    if not has_boxes and (iou_type == "bbox" or (iou_type == "keypoints" and _has_mask(columns["segmentation"]))):
        raise ValueError("areas are those of masks")
    masks = _masks(columns["segmentation"], images, ground_truth) if iou_type == "segm" else None
    return Found.measured(
        images,
        categories,
        columns["score"],
        boxes=columns["bbox"].table(4) if has_boxes else None,
        masks=masks,
        keypoints=columns["keypoints"].table(3 * joints).reshape(-1, joints, 3) if iou_type == "keypoints" else None,
    )


def _has_mask(segmentations: Segmentations) -> bool:
    """Whether the first entry has one."""
    return bool(segmentations.has_polygons[0] or segmentations.has_run_lengths[0])


def _masks(segmentations: Segmentations, images: np.ndarray, ground_truth: GroundTruth) -> Masks:
    """The masks, if all are run lengths of the size of their `images`."""
    sizes = np.array([ground_truth.image_sizes.get(one, (-1, -1)) for one in ground_truth.image_ids])
    masks = segmentations.masks
    if not segmentations.has_run_lengths.all() or not np.array_equal(masks.sizes, sizes[images]):
        raise ValueError("a mask is missing or of another size than its image")
    masks.measures  # noqa: B018 which reads them
    return masks
