"""Native readers, the fast path for COCO files without faults; they give up on anything unusual.

The readers in `annotations_file` and `detections_file` are authoritative: they take every other file, complete it, and
say what is wrong where.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from detkit.evaluation.files.json_columns import Columns, Keys, Kind, Segmentations, read_json_columns
from detkit.evaluation.files.ordinary_annotations import are_ordinary, warn_of_oddities
from detkit.evaluation.ground_truth import GroundTruth, IouType, images_to_evaluate, positions, positions_by_id
from detkit.evaluation.packed_objects import Masks, PackedDetections, PackedObjects, Ragged
from detkit.structures import Category
from detkit.structures.categories import entries_in, from_coco

_IMAGES: dict[str, Kind] = {"id": "key", "height": "number", "width": "number"}
_CATEGORIES: dict[str, Kind] = {"id": "key", "name": "key", "isthing": "number"}
_ANNOTATIONS: dict[str, Kind] = {
    "image_id": "key",
    "category_id": "key",
    "id": "number",
    "bbox": "numbers",
    "area": "number",
    "iscrowd": "number",
    "ignore": "number",
    "difficult": "number",
}
_RESULTS: dict[str, Kind] = {"image_id": "key", "category_id": "key", "score": "number", "bbox": "numbers"}
_ANNOTATED: dict[IouType, dict[str, Kind]] = {
    "bbox": {},
    "segm": {"segmentation": "mask"},
    "keypoints": {"keypoints": "numbers", "num_keypoints": "number"},
}
_DETECTED: dict[IouType, dict[str, Kind]] = {
    "bbox": {},
    "segm": {"segmentation": "mask"},
    "keypoints": {"keypoints": "numbers", "segmentation": "mask"},
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
    lists = {"images": _IMAGES, "categories": _CATEGORIES, "annotations": _ANNOTATIONS | _ANNOTATED[iou_type]}
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
        categories = [from_coco(entry, source) for entry in entries] if entries else categories
    try:
        objects = _objects(read["annotations"], iou_type, positions(ordered), positions_by_id(categories), sizes)
    except (ValueError, RuntimeError):
        return None
    kept = {key: sizes[key] for key in ordered if key in sizes}
    ignore = read["annotations"].numbers("ignore")
    warn_of_oddities(source, len(ignore), int((ignore == 1).sum()))
    return GroundTruth(source, categories, ordered, kept, objects)


def _sizes(ids: list[Any], images: Columns) -> dict[Any, tuple[int, int]]:
    """``(height, width)`` of the images whose sides are both stated."""
    sides = (
        np.nan_to_num(np.stack((images.numbers("height"), images.numbers("width")), axis=1)).astype(np.int64).tolist()
    )
    return {key: (height, width) for key, (height, width) in zip(ids, sides, strict=True) if height and width}


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


def read_results(
    path: Path, ground_truth: GroundTruth, iou_type: IouType, joints: int | None
) -> PackedDetections | None:
    """Read a results file all of whose entries have what is compared; None for any other."""
    read = read_json_columns(path, {"": _RESULTS | _DETECTED[iou_type]})
    if read is None or len(read[""].numbers("score")) == 0:
        return None
    try:
        return _detections(read[""], ground_truth, iou_type, joints)
    except (ValueError, RuntimeError):
        return None


def _detections(columns: Columns, ground_truth: GroundTruth, iou_type: IouType, joints: int | None) -> PackedDetections:
    """The entries as arrays.

    Raises:
        ValueError: something is missing or wrong.
        RuntimeError: a mask is malformed.
    """
    images = columns.keys_of("image_id").positions(ground_truth.image_numbers)
    categories = columns.keys_of("category_id").positions(ground_truth.category_positions)
    scores, boxes = columns.numbers("score"), columns.rows("bbox")
    if (images < 0).any() or (categories < 0).any() or np.isnan(scores).any():
        raise ValueError("an image, category or score is missing or unknown")
    # As in pycocotools, the first entry decides what areas are computed from.
    has_boxes = boxes.lengths[0] > 0
    if not has_boxes and (iou_type == "bbox" or (iou_type == "keypoints" and _has_mask(columns.masks("segmentation")))):
        raise ValueError("areas are those of masks")
    masks = _masks(columns.masks("segmentation"), images, ground_truth) if iou_type == "segm" else None
    return PackedDetections.measured(
        images,
        categories,
        scores,
        boxes=boxes.table(4) if has_boxes else None,
        masks=masks,
        keypoints=columns.rows("keypoints").table(3 * joints).reshape(-1, joints, 3) if joints else None,
    )


def _has_mask(segmentations: Segmentations) -> bool:
    """Whether the first entry has a mask."""
    return bool(segmentations.has_polygons[0] or segmentations.has_run_lengths[0])


def _masks(segmentations: Segmentations, images: np.ndarray, ground_truth: GroundTruth) -> Masks:
    """The masks, which must all be run lengths of the size of their images.

    Raises:
        ValueError: they are not.
    """
    sizes = np.array([ground_truth.image_sizes.get(key, (-1, -1)) for key in ground_truth.image_ids])
    masks = segmentations.masks
    if not segmentations.has_run_lengths.all() or not np.array_equal(masks.sizes, sizes[images]):
        raise ValueError("a mask is missing or of another size than its image")
    masks.measures  # noqa: B018 (raises if a mask is malformed)
    return masks
