"""Read a COCO annotation file as ground truth.

What is checked and completed is the same for training; see `detkit.coco_files`. `native_readers` gives the same result
faster for files without faults.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from detkit.coco_files import (
    ListedObjects,
    check_coco_content,
    encode_masks,
    read_coco_file,
    read_images,
    read_keypoints,
    read_listed_categories,
    read_objects,
    stated_numbers_of_keypoints,
)
from detkit.coco_files.listed_objects import fail_boxes
from detkit.coco_files.segmentations import box_rings
from detkit.errors import InputError
from detkit.evaluation.files import native_readers
from detkit.evaluation.files.ordinary_annotations import warn_of_oddities
from detkit.evaluation.ground_truth import GroundTruth, IouType, images_to_evaluate, plain_id, positions
from detkit.evaluation.packed_objects import Masks, PackedObjects

logger = logging.getLogger(__name__)


def read_ground_truth(
    annotations: str | Path | dict, iou_type: IouType, image_ids: Iterable[Any] | None = None
) -> GroundTruth:
    """Read the ground truth from a COCO annotation file, or from its content.

    The content is copied, never changed. What the file leaves out is filled in: ``iscrowd`` is 0, ``bbox`` the box
    around the segmentation, ``area`` that of the segmentation or else of the box, ``num_keypoints`` the keypoints with
    a visibility above 0, and a mask that some objects lack is their box (with a warning). An object with ``ignore`` is
    treated as one with ``iscrowd``, as in training (with a warning: pycocotools does not know ``ignore``).

    Args:
        annotations: path of the JSON file, or the dict that it holds.
        iou_type: what will be compared; the annotations must hold it.
        image_ids: the images to evaluate; all of the file by default.

    Raises:
        InputError: the file is missing, is not COCO, an annotation lacks what `iou_type` compares, or is of an image
            or a category that the file does not list.
    """
    requested = None if image_ids is None else [plain_id(key) for key in image_ids]
    if not isinstance(annotations, dict):
        ground_truth = native_readers.read_annotations(Path(annotations), str(annotations), iou_type, requested)
        if ground_truth is not None:
            return ground_truth
    if isinstance(annotations, dict):
        source, content = "annotations", check_coco_content(annotations, "annotations")
    else:
        source, content = str(annotations), read_coco_file(annotations)
    if not content["annotations"] and not (content["images"] and content["categories"]):
        return _without_anything(content, source, iou_type, requested)
    categories = read_listed_categories(content["categories"], source)
    images = read_images(content["images"], source)
    objects = read_objects(content["annotations"], images, categories, source, with_masks=iou_type == "segm")
    negative = objects.boxes[:, 2:].min(axis=1, initial=0) < 0
    if negative.any():
        fail_boxes(objects, negative)
    ordered = images_to_evaluate(set(images.ids), requested, source)
    numbers = positions(ordered)
    own_numbers = np.array([numbers.get(one, -1) for one in images.ids], dtype=np.int64)[objects.images]
    kept = np.flatnonzero(own_numbers >= 0)
    packed = _packed(objects, own_numbers, kept, images.sizes[objects.images], iou_type)
    stated = zip(images.ids, map(tuple, images.sizes.tolist()), strict=True)
    sizes = {one: size for one, size in stated if one in numbers and all(size)}
    warn_of_oddities(source, sum(bool(one.get("ignore")) for one in content["annotations"]))
    names = {one["id"]: name for one in content["images"] if isinstance(name := one.get("file_name"), str)}
    names = {one: names[one] for one in ordered if one in names}
    return GroundTruth(source, categories, ordered, sizes, packed, names)


def _without_anything(
    content: dict[str, Any], source: str, iou_type: IouType, requested: list[Any] | None
) -> GroundTruth:
    """The ground truth of a file without objects and images, or categories: evaluation then says so."""
    ids = read_images(content["images"], source).ids if content["images"] else []
    categories = read_listed_categories(content["categories"], source) if content["categories"] else []
    none = np.zeros(0, dtype=np.int64)
    has_keypoints = iou_type == "keypoints"
    objects = PackedObjects(
        images=none,
        categories=none,
        boxes=np.zeros((0, 4)),
        areas=np.zeros(0),
        iscrowd=np.zeros(0, dtype=np.bool_),
        difficult=np.zeros(0, dtype=np.bool_),
        masks=Masks.of([]) if iou_type == "segm" else None,
        keypoints=np.zeros((0, 0, 3)) if has_keypoints else None,
        num_keypoints=none if has_keypoints else None,
    )
    return GroundTruth(source, categories, images_to_evaluate(set(ids), requested, source), {}, objects)


def _packed(
    objects: ListedObjects, numbers: np.ndarray, kept: np.ndarray, sizes: np.ndarray, iou_type: IouType
) -> PackedObjects:
    """The objects of the evaluated images as arrays.

    Args:
        objects: all of the file.
        numbers: of each one's image among those that are evaluated; -1: not evaluated.
        kept: the rows of those that are.
        sizes: of each one's image.
        iou_type: what will be compared.
    """
    keypoints = num_keypoints = None
    if iou_type == "keypoints":
        keypoints, num_keypoints = _keypoints(objects, kept)
    return PackedObjects(
        images=numbers[kept],
        categories=objects.labels[kept],
        boxes=objects.boxes[kept],
        areas=objects.areas[kept],
        iscrowd=objects.iscrowd[kept],
        difficult=objects.difficult[kept],
        masks=_masks(objects, kept, sizes) if iou_type == "segm" else None,
        keypoints=keypoints,
        num_keypoints=num_keypoints,
    )


def _masks(objects: ListedObjects, kept: np.ndarray, sizes: np.ndarray) -> Masks:
    """The masks of the rows `kept`, boxes where there are none."""
    source, own = objects.listed.source, objects.segmentations or []
    chosen = [own[row] for row in kept.tolist()]
    missing = [index for index, one in enumerate(chosen) if one is None]
    if missing and len(missing) == len(chosen):
        raise InputError(f"{source} has no segmentations, so masks cannot be evaluated; evaluate boxes (iou_type bbox)")
    if missing:
        logger.warning(
            "%s: %d of %d objects have no segmentation; their boxes are used as masks", source, len(missing), len(kept)
        )
    for index, rings in zip(missing, box_rings(objects.boxes[kept[missing]]), strict=True):
        chosen[index] = rings
    encoded = encode_masks(objects.listed, kept.tolist(), [one for one in chosen if one is not None], sizes[kept])
    return Masks(encoded.strings, encoded.offsets, encoded.sizes)


def _keypoints(objects: ListedObjects, kept: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """``(N, J, 3)`` keypoints, zeros for an object without, and the ``(N,)`` numbers of those that are labeled."""
    listed = objects.listed
    several = read_keypoints(listed)
    rows = [several[row] for row in kept.tolist()]
    lengths = sorted({len(one) for one in rows} - {0})
    if len(lengths) > 1:
        raise InputError(
            f"{listed.source}: some objects have {lengths[0] // 3} keypoints and some {lengths[-1] // 3}; "
            "evaluate categories with different keypoints by themselves"
        )
    width = lengths[0] if lengths else 0
    filled = [one or [0] * width for one in rows]
    keypoints = np.array(filled, dtype=np.float64).reshape(len(rows), width // 3, 3)
    stated = stated_numbers_of_keypoints(listed)
    counted = (keypoints[..., 2] > 0).sum(axis=1)
    return keypoints, np.where(np.isnan(stated[kept]), counted, stated[kept]).astype(np.int64)
