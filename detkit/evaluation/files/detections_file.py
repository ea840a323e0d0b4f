"""Read and evaluate a file of detections in COCO's results format; each entry is checked."""

from __future__ import annotations

import logging
from collections.abc import Sequence
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
from detkit.evaluation.files import native_results
from detkit.evaluation.files.annotations_file import read_ground_truth
from detkit.evaluation.files.coco_json import to_rle
from detkit.evaluation.files.joining import Known, Reference, checked_id, join, known_categories, known_images
from detkit.evaluation.ground_truth import GroundTruth, IouType
from detkit.evaluation.nothing_to_measure import why_few
from detkit.evaluation.packed_objects import Masks, PackedDetections
from detkit.files import read_json
from detkit.files.json_values import is_finite_numbers, shown

logger = logging.getLogger(__name__)


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
    sigmas = sigmas_of(keypoint_sigmas, ground_truth.categories)
    evaluation = evaluate(ground_truth, packed, iou_type, sigmas, backend)
    if sentence := evaluation.why_nothing():
        logger.warning("%s", sentence)
    return evaluation


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
    source = "detections" if isinstance(detections, list) else str(detections)
    packed = _read_packed(detections, ground_truth, iou_type, keypoint_sigmas)
    if sentence := why_few(ground_truth, packed, source):
        logger.warning("%s", sentence)
    return packed


def _read_packed(
    detections: str | Path | list[dict],
    ground_truth: GroundTruth,
    iou_type: IouType,
    keypoint_sigmas: Sequence[float] | np.ndarray | None,
) -> PackedDetections:
    joints = len(sigmas_of(keypoint_sigmas, ground_truth.categories)) if iou_type == "keypoints" else None
    if not isinstance(detections, list):
        packed = native_results.read_results(Path(detections), ground_truth, iou_type, joints)
        if packed is not None:
            return packed
    source, entries = ("detections", detections) if isinstance(detections, list) else _read(Path(detections))
    shapes = _needed_shapes(entries[0] if entries else None, iou_type)
    for index, entry in enumerate(entries):
        _check_entry(entry, shapes, f"{source}: entry {index}")
    images = _joined(entries, known_images(ground_truth), source)
    categories = _joined(entries, known_categories(ground_truth), source)
    sizes = [ground_truth.image_sizes.get(ground_truth.image_ids[image]) for image in images]
    checked = [
        {shape: _CHECKED_SHAPE[shape](entry[shape], size, joints, f"{source}: entry {index}") for shape in shapes}
        for index, (entry, size) in enumerate(zip(entries, sizes, strict=True))
    ]
    scores = np.array([entry["score"] for entry in entries], dtype=np.float64)
    return _packed(checked, shapes, joints, images, categories, scores)


def _joined(entries: list[dict[str, Any]], known: Known, source: str) -> np.ndarray:
    """int64 ``(N,)`` the position of each entry's image or category; see `join`."""
    numbers: dict[tuple[str | None, int | str | None], int] = {}
    references: list[Reference] = []
    index = np.empty(len(entries), dtype=np.int64)
    for number, entry in enumerate(entries):
        where = f"{source}: entry {number}"
        name, key = entry.get(known.name_key), entry.get(known.id_key)
        if name is not None and not isinstance(name, str):
            raise InputError(f"{where} has the {known.name_key} {shown(name)}; write a text")
        key = None if key is None else checked_id(key, known, where)
        index[number] = numbers.setdefault((name, key), len(numbers))
        if len(numbers) > len(references):
            references.append(Reference(name, key, number))
    return join(references, known, source)[index]


def _packed(
    checked: list[dict[str, Any]],
    shapes: tuple[str, ...],
    joints: int | None,
    images: np.ndarray,
    categories: np.ndarray,
    scores: np.ndarray,
) -> PackedDetections:
    """Checked shapes as arrays, with the rest."""

    def numbers(name: str, *shape: int) -> np.ndarray:
        return np.array([one[name] for one in checked], dtype=np.float64).reshape(len(checked), *shape)

    boxes = numbers("bbox", 4) if "bbox" in shapes else None
    if "keypoints" in shapes and joints is None:  # boxes are compared: those around the keypoints
        boxes = np.array([_extent(one["keypoints"]) for one in checked]).reshape(-1, 4)
    return PackedDetections.measured(
        images,
        categories,
        scores,
        boxes=boxes,
        masks=Masks.of([one["segmentation"] for one in checked]) if "segmentation" in shapes else None,
        keypoints=numbers("keypoints", joints, 3) if "keypoints" in shapes and joints else None,
    )


def _extent(keypoints: list[float]) -> list[float]:
    """The box ``x y width height`` around keypoints."""
    x, y = keypoints[0::3], keypoints[1::3]
    return [min(x), min(y), max(x) - min(x), max(y) - min(y)]


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


def _check_entry(entry: Any, shapes: tuple[str, ...], where: str) -> None:
    """Check that an entry has what is needed; `join` checks ids and names."""
    if not isinstance(entry, dict):
        needed = ("image_id", "category_id", "score", *shapes)
        raise InputError(f"{where} is {shown(entry)}, not an object; write an object with {', '.join(needed)}")
    for names in (("image_id", "file_name"), ("category_id", "category"), ("score",), *((shape,) for shape in shapes)):
        if all(entry.get(name) is None for name in names):
            raise InputError(f"{where} has no {names[0]!r}; add it to every entry")
    if not is_finite_numbers([entry["score"]], 1):
        raise InputError(f"{where} has the score {shown(entry['score'])}; write a finite number")


def _box(box: Any, _size: tuple[int, int] | None, _joints: int | None, where: str) -> Sequence[float]:
    if not is_finite_numbers(box, 4):
        raise InputError(f"{where} has the bbox {shown(box)}; write [x, y, width, height] in finite pixels")
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
