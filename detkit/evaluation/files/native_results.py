"""The native reader of detections, the fast path for results files without faults; it gives up on anything unusual.

The reader in `detections_file` is authoritative: it takes every other file, and says what is wrong where.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from detkit.evaluation.files.joining import Known, Reference, checked_id, join, known_categories, known_images
from detkit.evaluation.files.json_columns import Columns, Kind, Segmentations, present_columns, read_json_columns
from detkit.evaluation.ground_truth import GroundTruth, IouType
from detkit.evaluation.packed_objects import Masks, PackedDetections

_RESULTS: dict[str, Kind] = {"image_id": "key", "category_id": "key", "score": "number", "bbox": "numbers"}
_RESULT_NAMES: dict[str, Kind] = {"file_name": "key", "category": "key"}
_DETECTED: dict[IouType, dict[str, Kind]] = {
    "bbox": {},
    "segm": {"segmentation": "mask"},
    "keypoints": {"keypoints": "numbers", "segmentation": "mask"},
}


def read_results(
    path: Path, ground_truth: GroundTruth, iou_type: IouType, joints: int | None
) -> PackedDetections | None:
    """Read a results file all of whose entries have what is compared; None for any other."""
    read = read_json_columns(path, {"": _RESULTS | present_columns(path, _RESULT_NAMES) | _DETECTED[iou_type]})
    if read is None or len(read[""].numbers("score")) == 0:
        return None
    try:
        return _detections(read[""], ground_truth, iou_type, joints, str(path))
    except (ValueError, RuntimeError):
        return None


def _detections(
    columns: Columns, ground_truth: GroundTruth, iou_type: IouType, joints: int | None, source: str
) -> PackedDetections:
    """The entries as arrays.

    Raises:
        ValueError: something is missing or wrong.
        RuntimeError: a mask is malformed.
    """
    scores, boxes = columns.numbers("score"), columns.rows("bbox")
    if not np.isfinite(scores).all() or not np.isfinite(boxes.values).all():
        raise ValueError("a score is missing or not finite, or a box")
    # As in pycocotools, the first entry decides what areas are computed from.
    has_boxes = boxes.lengths[0] > 0
    if not has_boxes and (iou_type == "bbox" or (iou_type == "keypoints" and _has_mask(columns.masks("segmentation")))):
        raise ValueError("areas are those of masks")
    table = boxes.table(4) if has_boxes else None
    keypoints = columns.rows("keypoints").table(3 * joints).reshape(-1, joints, 3) if joints else None
    if keypoints is not None and not np.isfinite(keypoints).all():
        raise ValueError("a keypoint is not finite")
    if iou_type == "segm" and not columns.masks("segmentation").has_run_lengths.all():
        raise ValueError("a mask is missing or not of run lengths")
    # What is joined may be warned about, so that after it there must be no reason left to try the other reader.
    images = _joined(columns, known_images(ground_truth), source)
    categories = _joined(columns, known_categories(ground_truth), source)
    masks = _masks(columns.masks("segmentation"), images, ground_truth) if iou_type == "segm" else None
    return PackedDetections.measured(
        images,
        categories,
        scores,
        boxes=table,
        masks=masks,
        keypoints=keypoints,
    )


def _joined(columns: Columns, known: Known, source: str) -> np.ndarray:
    """int64 ``(N,)`` the position of each entry's image or category; see `join`.

    Raises:
        InputError: an id or name is wrong.
    """
    ids = columns.keys_of(known.id_key)
    if known.name_key not in columns:
        rows = np.full(len(ids.values), len(ids), dtype=np.int64)
        np.minimum.at(rows, ids.index, np.arange(len(ids)))
        pairs, inverse = [(None, key) for key in ids.values], ids.index
    else:
        names = columns.keys_of(known.name_key)
        if not all(isinstance(name, str) for name in names.values):
            raise ValueError("a name is no text")
        both = ids.index * len(names.values) + names.index
        found, rows, inverse = np.unique(both, return_index=True, return_inverse=True)
        pairs = [
            (names.values[one % len(names.values)], ids.values[one // len(names.values)]) for one in found.tolist()
        ]
    order = np.argsort(rows, kind="stable")
    references = [
        Reference(pairs[one][0], checked_id(pairs[one][1], known, f"{source}: entry {rows[one]}"), int(rows[one]))
        for one in order.tolist()
    ]
    positions = np.empty(len(order), dtype=np.int64)
    positions[order] = join(references, known, source)
    return positions[inverse]


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
