"""Read and evaluate a file of detections in COCO's results format; each entry is checked."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.errors import InputError
from detkit.evaluation.coco.coco_evaluation import (
    Backend,
    CocoEvaluation,
    check_choices,
    check_sigmas,
    evaluate,
    sigmas_of,
)
from detkit.evaluation.files import native_readers
from detkit.evaluation.files.annotations_file import read_ground_truth
from detkit.evaluation.files.coco_json import read_json, to_rle
from detkit.evaluation.ground_truth import GroundTruth, IouType
from detkit.evaluation.packed_objects import Masks, PackedDetections
from detkit.files.json_values import is_finite_numbers


def evaluate_files(
    annotations: str | Path | dict,
    detections: str | Path | list[dict],
    iou_type: IouType = "bbox",
    keypoint_sigmas: Sequence[float] | None = None,
    backend: Backend = "native",
) -> dict[str, float]:
    """COCO's numbers, in 0..1 by name, of the detections in a file; see `evaluate_detections_file`."""
    return evaluate_detections_file(annotations, detections, iou_type, keypoint_sigmas, backend).metrics


def evaluate_detections_file(
    annotations: str | Path | dict,
    detections: str | Path | list[dict],
    iou_type: IouType = "bbox",
    keypoint_sigmas: Sequence[float] | None = None,
    backend: Backend = "native",
) -> CocoEvaluation:
    """Evaluate detections in COCO's results format, from any program.

    The numbers are those of pycocotools on the same two files. The areas that decide between small, medium and large
    are computed as there: where the first entry has a ``bbox``, the area is that of the box, also with masks.

    Args:
        annotations: path of a COCO annotation file, or its content.
        detections: path of the file, a JSON list of entries with ``image_id``, ``category_id``, ``score`` and what is
            compared: ``bbox`` as ``[x, y, width, height]``, ``segmentation`` or ``keypoints``; or that list. Boxes are
            taken from the segmentations where the first entry has no box.
        iou_type: compare boxes, masks or keypoints.
        keypoint_sigmas: see `CocoEvaluator`.
        backend: who computes the numbers.

    Raises:
        InputError: a file is missing or not in COCO's format; the message names file and entry.
    """
    check_choices(iou_type, backend)
    ground_truth = read_ground_truth(annotations, iou_type)
    check_sigmas(ground_truth, iou_type, keypoint_sigmas)
    packed = read_detections(detections, ground_truth, iou_type, keypoint_sigmas)
    return evaluate(ground_truth, packed, iou_type, sigmas_of(keypoint_sigmas, ground_truth.categories), backend)


def read_detections(
    detections: str | Path | list[dict],
    ground_truth: GroundTruth,
    iou_type: IouType,
    keypoint_sigmas: Sequence[float] | np.ndarray | None = None,
) -> PackedDetections:
    """Read the entries of a results file.

    Raises:
        InputError: the file is not in COCO's results format, or an entry cannot be evaluated; the message names it.
    """
    joints = len(sigmas_of(keypoint_sigmas, ground_truth.categories)) if iou_type == "keypoints" else None
    if not isinstance(detections, list):
        packed = native_readers.read_results(Path(detections), ground_truth, iou_type, joints)
        if packed is not None:
            return packed
    source, entries = ("detections", detections) if isinstance(detections, list) else _read(Path(detections))
    shapes = _needed_shapes(entries[0] if entries else None, iou_type)
    checked = [
        _checked(entry, shapes, ground_truth, joints, f"{source}: entry {index}") for index, entry in enumerate(entries)
    ]
    return _packed(checked, shapes, joints)


def _packed(checked: list[dict[str, Any]], shapes: tuple[str, ...], joints: int | None) -> PackedDetections:
    """Checked entries as arrays."""

    def numbers(name: str, dtype: type, *shape: int) -> np.ndarray:
        return np.array([one[name] for one in checked], dtype=dtype).reshape(len(checked), *shape)

    boxes = numbers("bbox", np.float64, 4) if "bbox" in shapes else None
    if "keypoints" in shapes and joints is None:  # boxes are compared: those around the keypoints
        boxes = np.array([_extent(one["keypoints"]) for one in checked]).reshape(-1, 4)
    return PackedDetections.measured(
        images=numbers("image", np.int64),
        categories=numbers("category", np.int64),
        scores=numbers("score", np.float64),
        boxes=boxes,
        masks=Masks.of([one["segmentation"] for one in checked]) if "segmentation" in shapes else None,
        keypoints=numbers("keypoints", np.float64, joints, 3) if "keypoints" in shapes and joints else None,
    )


def _extent(keypoints: list[float]) -> list[float]:
    """The box ``x y width height`` around keypoints."""
    x, y = keypoints[0::3], keypoints[1::3]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


def _checked(
    entry: Any, shapes: tuple[str, ...], ground_truth: GroundTruth, joints: int | None, where: str
) -> dict[str, Any]:
    """The parts of one entry that evaluation needs."""
    _check_keys(entry, ("image_id", "category_id", "score", *shapes), where)
    number = ground_truth.number_of(entry["image_id"], where)
    positions = ground_truth.category_positions
    if not isinstance(entry["category_id"], Hashable) or entry["category_id"] not in positions:
        raise InputError(
            f"{where}: category id {entry['category_id']!r} is not among those of {ground_truth.source} "
            f"({list(positions)}); write the ids of the annotations"
        )
    if not is_finite_numbers([entry["score"]], 1):
        raise InputError(f"{where} has the score {entry['score']!r}; write a finite number")
    result = {"image": number, "category": positions[entry["category_id"]], "score": entry["score"]}
    size = ground_truth.image_sizes.get(entry["image_id"])
    for shape in shapes:
        result[shape] = _CHECKED_SHAPE[shape](entry[shape], size, joints, where)
    return result


def _read(path: Path) -> tuple[str, list]:
    content = read_json(path)
    if not isinstance(content, list):
        raise InputError(
            f"{path} holds a JSON {type(content).__name__}, not a list of detections; "
            "write a list of objects with image_id, category_id, score and bbox, segmentation or keypoints"
        )
    return str(path), content


def _needed_shapes(first: Any, iou_type: IouType) -> tuple[str, ...]:
    """The keys that every entry needs: what is compared, and what areas are computed from, by the first entry."""
    held = [name for name in ("bbox", "segmentation", "keypoints") if isinstance(first, dict) and first.get(name)]
    area_from = held[0] if held else "bbox"
    compared = {"bbox": area_from, "segm": "segmentation", "keypoints": "keypoints"}[iou_type]
    return (compared,) if compared == area_from else (compared, area_from)


def _check_keys(entry: Any, needed: tuple[str, ...], where: str) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{where} is {entry!r:.60}, not an object; write an object with {', '.join(needed)}")
    for name in needed:
        if entry.get(name) is None:
            raise InputError(f"{where} has no {name!r}; add it to every entry")


def _box(box: Any, _size: tuple[int, int] | None, _joints: int | None, where: str) -> Sequence[float]:
    if not is_finite_numbers(box, 4):
        raise InputError(f"{where} has the bbox {box!r:.80}; write [x, y, width, height] in finite pixels")
    return box


def _mask(segmentation: Any, size: tuple[int, int] | None, _joints: int | None, where: str) -> dict:
    try:
        return to_rle(segmentation, size)
    except ValueError as error:
        raise InputError(
            f"{where} has no usable segmentation: {error}; write a mask of the image in COCO's form"
        ) from None


def _keypoints(keypoints: Any, _size: tuple[int, int] | None, joints: int | None, where: str) -> Sequence[float]:
    count = joints if joints is not None else len(keypoints) // 3 if isinstance(keypoints, list) else 1
    if not is_finite_numbers(keypoints, 3 * count):
        raise InputError(
            f"{where} has keypoints that are not {3 * count} finite numbers, x, y, score of {count} keypoints; "
            "correct them, or give the keypoint_sigmas of your own keypoints"
        )
    return keypoints


_CHECKED_SHAPE = {"bbox": _box, "segmentation": _mask, "keypoints": _keypoints}
