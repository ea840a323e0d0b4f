"""COCO's evaluation by pycocotools, the reference implementation."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detkit.evaluation.coco.protocol import Curves, Protocol
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import PackedDetections, PackedObjects


def evaluate(
    ground_truth: GroundTruth,
    detections: PackedDetections,
    iou_type: str,
    protocol: Protocol,
    keypoint_sigmas: np.ndarray,
) -> Curves:
    """The curves that pycocotools computes."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _index(ground_truth)
        results = truth.loadRes(_results(detections)) if len(detections) else _empty(truth)
        coco_eval = COCOeval(truth, results, iou_type)
        coco_eval.params.iouThrs, coco_eval.params.recThrs = protocol.iou_thresholds, protocol.recall_thresholds
        coco_eval.params.maxDets = list(protocol.max_detections)
        coco_eval.params.areaRng = [list(bounds) for bounds in protocol.areas.values()]
        coco_eval.params.areaRngLbl = list(protocol.areas)
        if iou_type == "keypoints":
            coco_eval.params.kpt_oks_sigmas = keypoint_sigmas
        coco_eval.evaluate()
        coco_eval.accumulate()
    return Curves(coco_eval.eval["precision"], coco_eval.eval["recall"], coco_eval.eval["scores"])


def _index(ground_truth: GroundTruth) -> COCO:
    """The ground truth with images and categories by their positions. Annotations are numbered from 1: pycocotools
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


def _annotation(objects: PackedObjects, index: int) -> dict[str, Any]:
    annotation: dict[str, Any] = {
        "id": index + 1,
        "image_id": int(objects.images[index]),
        "category_id": int(objects.categories[index]),
        "bbox": objects.boxes[index].tolist(),
        "area": float(objects.areas[index]),
        "iscrowd": int(objects.iscrowd[index]),
    }
    if objects.masks is not None:
        annotation["segmentation"] = objects.masks.encoded(index)
    if objects.keypoints is not None and objects.num_keypoints is not None:
        annotation["keypoints"] = objects.keypoints[index].ravel().tolist()
        annotation["num_keypoints"] = int(objects.num_keypoints[index])
    return annotation


def _results(detections: PackedDetections) -> list[dict[str, Any]]:
    """The detections in COCO's results format, with only what pycocotools is to compute their areas from."""
    results = []
    for index in range(len(detections)):
        result: dict[str, Any] = {
            "image_id": int(detections.images[index]),
            "category_id": int(detections.categories[index]),
            "score": float(detections.scores[index]),
        }
        if detections.areas_of == "boxes":
            # Without a segmentation, pycocotools would make a polygon of every box.
            result |= {"bbox": detections.boxes[index].tolist(), "segmentation": []}
        if detections.masks is not None:
            result["segmentation"] = detections.masks.encoded(index)
        if detections.keypoints is not None:
            result["keypoints"] = detections.keypoints[index].ravel().tolist()
        results.append(result)
    return results


def _empty(truth: COCO) -> COCO:
    empty = COCO()
    empty.dataset = truth.dataset | {"annotations": []}
    empty.createIndex()
    return empty
