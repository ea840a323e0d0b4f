"""COCO's evaluation by pycocotools, the reference."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detkit.evaluation.coco.protocol import Curves, Protocol
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import Found, Objects


def evaluate(
    ground_truth: GroundTruth, found: Found, iou_type: str, protocol: Protocol, keypoint_sigmas: np.ndarray
) -> Curves:
    """The curves that pycocotools draws."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(ground_truth)
        judge = COCOeval(truth, truth.loadRes(_results(found)) if len(found) else _empty(truth), iou_type)
        judge.params.iouThrs, judge.params.recThrs = protocol.iou_thresholds, protocol.recall_thresholds
        judge.params.maxDets = list(protocol.max_detections)
        judge.params.areaRng = [list(bounds) for bounds in protocol.areas.values()]
        judge.params.areaRngLbl = list(protocol.areas)
        if iou_type == "keypoints":
            judge.params.kpt_oks_sigmas = keypoint_sigmas
        judge.evaluate()
        judge.accumulate()
    return Curves(judge.eval["precision"], judge.eval["recall"], judge.eval["scores"])


def _index(ground_truth: GroundTruth) -> COCO:
    """The ground truth with images and categories by their positions, and annotations numbered from 1: pycocotools
    takes an annotation of id 0 for "not matched"."""
    coco = COCO()
    coco.dataset = {
        "info": {},
        "images": [{"id": number} for number in range(len(ground_truth.image_ids))],
        "categories": [{"id": position} for position in range(len(ground_truth.categories))],
        "annotations": [_annotation(ground_truth.objects, index) for index in range(len(ground_truth.objects))],
    }
    for number, key in enumerate(ground_truth.image_ids):
        if key in ground_truth.image_sizes:
            height, width = ground_truth.image_sizes[key]
            coco.dataset["images"][number] |= {"height": height, "width": width}
    coco.createIndex()
    return coco


def _annotation(objects: Objects, index: int) -> dict[str, Any]:
    annotation = {
        "id": index + 1,
        "image_id": int(objects.images[index]),
        "category_id": int(objects.categories[index]),
        "bbox": objects.boxes[index].tolist(),
        "area": float(objects.areas[index]),
        "iscrowd": int(objects.iscrowd[index]),
    }
    if objects.masks is not None:
        annotation["segmentation"] = objects.masks.encoded(index)
    if objects.keypoints is not None:
        annotation["keypoints"] = objects.keypoints[index].ravel().tolist()
        annotation["num_keypoints"] = int(objects.num_keypoints[index])
    return annotation


def _results(found: Found) -> list[dict[str, Any]]:
    """The detections in COCO's results format, with what their areas are those of, which pycocotools works out."""
    results = []
    for index in range(len(found)):
        result = {
            "image_id": int(found.images[index]),
            "category_id": int(found.categories[index]),
            "score": float(found.scores[index]),
        }
        if found.areas_of == "boxes":
            # Without a segmentation, pycocotools would make a polygon of every box.
            result |= {"bbox": found.boxes[index].tolist(), "segmentation": []}
        if found.masks is not None:
            result["segmentation"] = found.masks.encoded(index)
        if found.keypoints is not None:
            result["keypoints"] = found.keypoints[index].ravel().tolist()
        results.append(result)
    return results


def _empty(truth: COCO) -> COCO:
    empty = COCO()
    empty.dataset = truth.dataset | {"annotations": []}
    empty.createIndex()
    return empty
