"""Files of detections in COCO's results format, checked entry by entry and evaluated."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.evaluation.coco import CocoEvaluation, check_sigmas, evaluate_results, sigmas_of
from detkit.evaluation.ground_truth import (
    GroundTruth,
    IouType,
    are_finite_numbers,
    read_ground_truth,
    read_json,
    to_rle,
)


def evaluate_files(
    annotations: str | Path | dict,
    detections: str | Path | list[dict],
    iou_type: IouType = "bbox",
    keypoint_sigmas: Sequence[float] | None = None,
) -> dict[str, float]:
    """COCO's numbers, in 0..1 by name, of the detections in a file; see `evaluate_detections_file`."""
    return evaluate_detections_file(annotations, detections, iou_type, keypoint_sigmas).metrics


def evaluate_detections_file(
    annotations: str | Path | dict,
    detections: str | Path | list[dict],
    iou_type: IouType = "bbox",
    keypoint_sigmas: Sequence[float] | None = None,
) -> CocoEvaluation:
    """Evaluate detections in COCO's results format, whoever wrote them.

    The numbers are those of pycocotools on the same two files. That holds for the areas that decide between small,
    medium and large too: where the first entry has a ``bbox``, the area is that of the box, also with masks.

    Args:
        annotations: path of a COCO annotation file, or its content.
        detections: path of the file, a JSON list of entries with ``image_id``, ``category_id``, ``score`` and what is
            compared: ``bbox`` as ``[x, y, width, height]``, ``segmentation`` or ``keypoints``; or that list. Boxes are
            taken from the segmentations where there are no others.
        iou_type: compare boxes, masks or keypoints.
        keypoint_sigmas: see `CocoEvaluator`.

    Raises:
        InputError: a file is missing or not in COCO's format; the message names file and entry.
    """
    ground_truth = read_ground_truth(annotations, iou_type)
    check_sigmas(ground_truth, iou_type, keypoint_sigmas)
    results = read_detections(detections, ground_truth, iou_type, keypoint_sigmas)
    return evaluate_results(ground_truth, results, iou_type, keypoint_sigmas)


def read_detections(
    detections: str | Path | list[dict],
    ground_truth: GroundTruth,
    iou_type: IouType,
    keypoint_sigmas: Sequence[float] | None = None,
) -> list[dict[str, Any]]:
    """The entries of a results file, checked, with images by their number in `ground_truth`.

    Raises:
        InputError: the file is not in COCO's results format, or an entry cannot be evaluated; the message names it.
    """
    source, entries = ("detections", detections) if isinstance(detections, list) else _read(Path(detections))
    if not entries:
        return []
    shapes = _needed_shapes(entries[0], iou_type)
    joints = len(sigmas_of(keypoint_sigmas)) if iou_type == "keypoints" else None
    return [
        _checked(entry, shapes, ground_truth, joints, f"{source}: entry {index}") for index, entry in enumerate(entries)
    ]


def _checked(
    entry: Any, shapes: tuple[str, ...], ground_truth: GroundTruth, joints: int | None, place: str
) -> dict[str, Any]:
    """What evaluation needs of one entry."""
    _check_keys(entry, ("image_id", "category_id", "score", *shapes), place)
    number = ground_truth.number_of(entry["image_id"], place)
    category_ids = ground_truth.coco.cats
    if not isinstance(entry["category_id"], Hashable) or entry["category_id"] not in category_ids:
        raise InputError(
            f"{place}: category id {entry['category_id']!r} is not among those of {ground_truth.source} "
            f"({list(category_ids)}); write the ids of the annotations"
        )
    if not are_finite_numbers([entry["score"]], 1):
        raise InputError(f"{place} has the score {entry['score']!r}; write a finite number")
    result = {"image_id": number, "category_id": entry["category_id"], "score": entry["score"]}
    size = ground_truth.image_sizes.get(entry["image_id"])
    for shape in {*shapes, "bbox"} if entry.get("bbox") else shapes:
        result[shape] = _CHECKED_SHAPE[shape](entry[shape], size, joints, place)
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
    """What every entry must have: what is compared, and what pycocotools takes the area from, by the first entry."""
    held = [name for name in ("bbox", "segmentation", "keypoints") if isinstance(first, dict) and first.get(name)]
    of_area = held[0] if held else "bbox"
    compared = {"bbox": of_area, "segm": "segmentation", "keypoints": "keypoints"}[iou_type]
    return (compared,) if compared == of_area else (compared, of_area)


def _check_keys(entry: Any, needed: tuple[str, ...], place: str) -> None:
    if not isinstance(entry, dict):
        raise InputError(f"{place} is {entry!r:.60}, not an object; write one with {', '.join(needed)}")
    for name in needed:
        if entry.get(name) is None:
            raise InputError(f"{place} has no {name!r}; add it to every entry")


def _box(box: Any, _size: tuple[int, int] | None, _joints: int | None, place: str) -> list[float]:
    if not are_finite_numbers(box, 4):
        raise InputError(f"{place} has the bbox {box!r:.80}; write [x, y, width, height] in finite pixels")
    return box


def _mask(segmentation: Any, size: tuple[int, int] | None, _joints: int | None, place: str) -> dict:
    try:
        return to_rle(segmentation, size)
    except ValueError as error:
        raise InputError(
            f"{place} has no usable segmentation: {error}; write a mask of the image in COCO's form"
        ) from None


def _keypoints(keypoints: Any, _size: tuple[int, int] | None, joints: int | None, place: str) -> list[float]:
    count = joints if joints is not None else len(keypoints) // 3 if isinstance(keypoints, list) else 1
    if not are_finite_numbers(keypoints, 3 * count):
        raise InputError(
            f"{place} has keypoints that are not {3 * count} finite numbers, x, y, score of {count} keypoints; "
            "correct them, or give the keypoint_sigmas of your own keypoints"
        )
    return keypoints


_CHECKED_SHAPE = {"bbox": _box, "segmentation": _mask, "keypoints": _keypoints}
