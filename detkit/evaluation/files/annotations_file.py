"""Read a COCO annotation file as ground truth: each annotation is checked and completed.

This reader defines what evaluation accepts; `native_readers` gives the same result faster for files without faults.
`detkit.data.formats.coco_annotations` reads the same files for training.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pycocotools import mask as rle_masks

from detkit.errors import InputError
from detkit.evaluation.files import native_readers
from detkit.evaluation.files.coco_json import read_json, to_rle
from detkit.evaluation.ground_truth import (
    GroundTruth,
    IouType,
    images_to_evaluate,
    plain_id,
    positions,
    positions_by_id,
)
from detkit.evaluation.packed_objects import Masks, PackedObjects
from detkit.files.json_values import is_finite_numbers
from detkit.structures import Category
from detkit.structures.categories import from_coco

logger = logging.getLogger(__name__)


def read_ground_truth(
    annotations: str | Path | dict, iou_type: IouType, image_ids: Iterable[Any] | None = None
) -> GroundTruth:
    """Read the ground truth from a COCO annotation file, or from its content.

    The content is copied, never changed. What the file leaves out is filled in: ``iscrowd`` is 0, ``area`` that of the
    segmentation or else of the box, ``num_keypoints`` the keypoints with a visibility above 0, and a mask that some
    objects lack is their box (with a warning). Annotations of images or categories that the file does not list are left
    out, as pycocotools does; ids of annotations do not matter.

    Args:
        annotations: path of the JSON file, or the dict that it holds.
        iou_type: what will be compared; the annotations must hold it.
        image_ids: the images to evaluate; all of the file by default.

    Raises:
        InputError: the file is missing, is not COCO, or an annotation lacks what `iou_type` compares.
    """
    requested = None if image_ids is None else [plain_id(key) for key in image_ids]
    if not isinstance(annotations, dict):
        ground_truth = native_readers.read_annotations(Path(annotations), str(annotations), iou_type, requested)
        if ground_truth is not None:
            return ground_truth
    source, content = ("annotations", annotations) if isinstance(annotations, dict) else _read(Path(annotations))
    images = {image["id"]: image for image in _entries(content, "images", source, ("id",))}
    categories = _categories(content, source)
    ordered = images_to_evaluate(images, requested, source)
    sizes = {
        key: (int(images[key]["height"]), int(images[key]["width"]))
        for key in ordered
        if images[key].get("height") and images[key].get("width")
    }
    complete = list(_annotations(content, source, iou_type, positions(ordered), positions_by_id(categories), sizes))
    names = {key: name for key in ordered if isinstance(name := images[key].get("file_name"), str)}
    return GroundTruth(source, categories, ordered, sizes, _packed(complete, iou_type, source), names)


def _packed(complete: list[dict], iou_type: IouType, source: str) -> PackedObjects:
    """Completed annotations as arrays."""
    keypoints = _packed_keypoints(complete, source) if iou_type == "keypoints" else None
    return PackedObjects(
        images=np.array([one["image"] for one in complete], dtype=np.int64),
        categories=np.array([one["category"] for one in complete], dtype=np.int64),
        boxes=np.array([one["bbox"] for one in complete], dtype=np.float64).reshape(-1, 4),
        areas=np.array([one["area"] for one in complete], dtype=np.float64),
        iscrowd=np.array([one["iscrowd"] for one in complete], dtype=np.bool_),
        difficult=np.array([one["difficult"] for one in complete], dtype=np.bool_),
        masks=Masks.of([one["segmentation"] for one in complete]) if iou_type == "segm" else None,
        keypoints=keypoints,
        num_keypoints=None
        if keypoints is None
        else np.array([one["num_keypoints"] for one in complete], dtype=np.int64),
    )


def _packed_keypoints(complete: list[dict], source: str) -> np.ndarray:
    """``(N, J, 3)``, zeros for an object without keypoints."""
    lengths = sorted({len(one["keypoints"]) for one in complete} - {0})
    if len(lengths) > 1:
        raise InputError(
            f"{source}: some objects have {lengths[0] // 3} keypoints and some {lengths[-1] // 3}; "
            "evaluate categories with different keypoints by themselves"
        )
    width = lengths[0] if lengths else 0
    rows = [one["keypoints"] or [0] * width for one in complete]
    return np.array(rows, dtype=np.float64).reshape(len(complete), width // 3, 3)


def _read(path: Path) -> tuple[str, dict]:
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a JSON {type(content).__name__}, not COCO annotations; "
            "give the file with the keys images, annotations and categories"
        )
    return str(path), content


def _entries(content: dict, key: str, source: str, needed: tuple[str, ...]) -> list[dict]:
    """The list under `key`, each entry of which has the `needed` keys."""
    entries = content.get(key)
    if not isinstance(entries, list):
        raise InputError(f"{source} has no list {key!r}, which COCO annotations must have to be evaluated against")
    for index, entry in enumerate(entries):
        missing = [name for name in needed if not isinstance(entry, dict) or entry.get(name) is None]
        if missing:
            raise InputError(f"{source}: {key}[{index}] has no {missing[0]!r}; add it to the file")
    return entries


def _images(content: dict, source: str) -> dict[Any, dict]:
    return {image["id"]: image for image in _entries(content, "images", source, ("id",))}


def _categories(content: dict, source: str) -> list[Category]:
    entries = {entry["id"]: entry for entry in _entries(content, "categories", source, ("id",))}
    return [from_coco({**entry, "name": str(entry.get("name", key))}, source) for key, entry in sorted(entries.items())]


def _annotations(
    content: dict, source: str, iou_type: IouType, image_numbers: dict, category_positions: dict, sizes: dict
) -> Iterator[dict]:
    """The annotations to evaluate against, completed."""
    listed = _entries(content, "annotations", source, ("image_id", "category_id"))
    kept = [
        entry for entry in listed if entry["image_id"] in image_numbers and entry["category_id"] in category_positions
    ]
    if iou_type == "segm":
        _warn_of_boxes_for_masks(kept, source)
    for number, entry in enumerate(kept, start=1):
        where = f"{source}: annotation {entry.get('id', number)} of image {entry['image_id']!r}"
        complete = _completed(entry, iou_type, sizes.get(entry["image_id"]), where)
        yield {
            "image": image_numbers[entry["image_id"]],
            "category": category_positions[entry["category_id"]],
            "iscrowd": bool(entry.get("iscrowd", 0)),
            "difficult": bool(entry.get("difficult", 0)),
            **complete,
        }


def _warn_of_boxes_for_masks(entries: list[dict], source: str) -> None:
    missing = sum(not entry.get("segmentation") for entry in entries)
    if missing and missing == len(entries):
        raise InputError(f"{source} has no segmentations, so masks cannot be evaluated; evaluate boxes (iou_type bbox)")
    if missing:
        logger.warning(
            "%s: %d of %d objects have no segmentation; their boxes are used as masks", source, missing, len(entries)
        )


def _completed(entry: dict, iou_type: IouType, size: tuple[int, int] | None, where: str) -> dict:
    """The geometry of one annotation: box, area, and what `iou_type` compares."""
    complete: dict[str, Any] = {}
    box, area, segmentation = entry.get("bbox"), entry.get("area"), entry.get("segmentation")
    if iou_type == "segm" and not segmentation and is_finite_numbers(box, 4):
        segmentation = _box_polygons(box)
    if iou_type == "segm" or (segmentation and (not box or (area is None and size is not None))):
        try:
            segmentation = to_rle(segmentation, size)
        except ValueError as error:
            raise InputError(f"{where} has no usable segmentation: {error}; correct it") from None
        box = box or rle_masks.toBbox(segmentation).tolist()
        area = float(rle_masks.area(segmentation)) if area is None else area
        complete["segmentation"] = segmentation
    if iou_type == "keypoints":
        complete |= _keypoints(entry, where)
    if not is_finite_numbers(box, 4):
        raise InputError(f"{where} has the bbox {box!r}; COCO's is [x, y, width, height] in pixels")
    area = float(box[2] * box[3]) if area is None else area
    if not is_finite_numbers([area], 1):
        raise InputError(f"{where} has the area {area!r}; give a number of square pixels or leave it out")
    return complete | {"bbox": box, "area": area}


def _keypoints(entry: dict, where: str) -> dict:
    """Keypoints and their number; evaluation ignores an annotation without any."""
    keypoints = entry.get("keypoints") or []
    if not is_finite_numbers(keypoints, len(keypoints)) or len(keypoints) % 3:
        raise InputError(f"{where} has keypoints that are not a flat list of x, y, visibility; correct them")
    visible = sum(visibility > 0 for visibility in keypoints[2::3])
    return {"keypoints": keypoints, "num_keypoints": entry.get("num_keypoints", visible)}


def _box_polygons(box: Sequence[float]) -> list[list[float]]:
    """A box ``x y width height`` as polygons."""
    x, y, width, height = box
    return [[x, y, x + width, y, x + width, y + height, x, y + height]]
