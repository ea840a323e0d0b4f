"""Detections in COCO's results format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from detkit.errors import InputError
from detkit.ops import masks_to_rle
from detkit.structures import Category, Detections


def to_coco(detections: Detections, image_id: Any) -> list[dict[str, Any]]:
    """See `Detections.to_coco`."""
    if image_id is None:
        image_id = None if detections.source is None else detections.source.name
    if image_id is None:
        raise InputError("to_coco needs the image_id of the image in its annotations: these detections are of pixels")
    entries = coco_results(detections, detections.known_categories())
    return [{"image_id": image_id, **entry} for entry in entries]


def coco_results(detections: Detections, categories: Sequence[Category]) -> list[dict[str, Any]]:
    """An entry for each, without the id of the image.

    Args:
        detections: of one image.
        categories: of each of the N detections.
    """
    boxes = detections.boxes.to(torch.float64, copy=True)  # as evaluation takes them, so that the numbers are equal
    boxes[:, 2:] -= boxes[:, :2]
    masks = None if detections.masks is None else masks_to_rle(detections.masks).to_coco()
    entries = []
    for index, (box, score, category) in enumerate(
        zip(boxes.tolist(), detections.scores.tolist(), categories, strict=True)
    ):
        entry = {"category_id": category.id, "bbox": box, "score": score}
        if masks is not None:
            entry["segmentation"] = {"size": masks[index]["size"], "counts": masks[index]["counts"].decode("ascii")}
        if detections.keypoints is not None:
            entry["keypoints"] = detections.keypoints[index].flatten().tolist()
        entries.append(entry)
    return entries
