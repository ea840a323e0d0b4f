"""Random data sets with detections, and pycocotools run on them directly."""

from __future__ import annotations

import contextlib
import copy
import io
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detkit.structures import Category, Detections

CATEGORIES = [Category(7, "dog"), Category(3, "cat"), Category(12, "never seen"), Category(20, "bird")]
NAMES = {
    "bbox": ["AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"],
    "keypoints": ["AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"],
}
NAMES["segm"] = NAMES["bbox"]


@dataclass
class Problem:
    """Annotations as COCO's JSON, detections of each image, and the categories of their labels."""

    annotations: dict
    image_ids: list
    detections: list[Detections]
    categories: list[Category]

    def results(self, iou_type: str, with_boxes: bool = False) -> list[dict]:
        """The detections in COCO's results format, written here independently of detkit."""
        results = []
        for image_id, detections in zip(self.image_ids, self.detections, strict=True):
            for index in range(len(detections)):
                x1, y1, x2, y2 = detections.boxes[index].tolist()
                result = {
                    "image_id": image_id,
                    "category_id": self.categories[int(detections.labels[index])].id,
                    "score": float(detections.scores[index]),
                }
                if iou_type == "bbox" or with_boxes:
                    result["bbox"] = [x1, y1, x2 - x1, y2 - y1]
                if iou_type == "segm":
                    mask = np.asfortranarray(detections.masks[index].numpy().astype(np.uint8))
                    encoded = rle_masks.encode(mask)
                    result["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode()}
                if iou_type == "keypoints":
                    result["keypoints"] = detections.keypoints[index].flatten().tolist()
                results.append(result)
        return results


@pytest.fixture(scope="session")
def make_problem() -> Callable[..., Problem]:
    """``make_problem(seed, images=12, crowded=True)``: boxes, masks and keypoints of every size; ties among scores,
    crowds, images without objects or detections, a category without objects, and with `crowded` one image with more
    than 100 detections of one class."""
    return _make_problem


@pytest.fixture(scope="session")
def reference() -> Callable[[dict, list[dict], str], dict[str, float]]:
    """``reference(annotations, results, iou_type)``: what pycocotools says."""
    return _reference


def _make_problem(seed: int, images: int = 12, crowded: bool = True) -> Problem:
    random = np.random.default_rng(seed)
    content = {"images": [], "annotations": [], "categories": [vars(category) for category in CATEGORIES]}
    image_ids, detections = [], []
    for number in range(images):
        image_id = 1000 - 7 * number  # neither from 0 nor ascending
        height, width = (int(side) for side in random.integers(130, 260, 2))
        content["images"].append({"id": image_id, "height": height, "width": width, "file_name": f"{image_id}.png"})
        objects = [] if number == 1 else [_object(random, height, width) for _ in range(random.integers(0, 7))]
        for box, keypoints in objects:
            content["annotations"].append(_annotation(random, content, image_id, box, keypoints, height, width))
        if number != 2:
            strays = 260 if crowded and number == 0 else int(random.integers(0, 9))
            image_ids.append(image_id)
            detections.append(_detections(random, objects, strays, height, width))
    return Problem(content, image_ids, detections, CATEGORIES)


def _object(random: np.random.Generator, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """A box ``x1 y1 x2 y2`` of a small, medium or large object, and 17 keypoints in it."""
    size = random.choice([[6, 30], [34, 90], [100, 128]])
    sides = random.uniform(*size, 2)
    corner = random.uniform(0, np.array([width, height]) - sides)
    box = np.concatenate([corner, corner + sides]).round(1)
    places = random.uniform(box[:2], box[2:], (17, 2)).round(1)
    return box, np.concatenate([places, random.integers(0, 3, (17, 1))], axis=1)


def _annotation(
    random: np.random.Generator, content: dict, image_id: int, box: np.ndarray, keypoints: np.ndarray, height, width
) -> dict:
    x1, y1, x2, y2 = box.tolist()
    crowd = int(random.random() < 0.15)
    unlabeled = random.random() < 0.1
    polygons = [[x1, y1, x2, y1, x2, (y1 + y2) / 2, (x1 + x2) / 2, y2, x1, y2]]
    mask = rle_masks.decode(rle_masks.frPyObjects(polygons, height, width))[:, :, 0]
    return {
        "id": len(content["annotations"]) + 1,
        "image_id": image_id,
        "category_id": random.choice([3, 7, 20], p=[0.5, 0.3, 0.2]).item(),
        "bbox": [x1, y1, x2 - x1, y2 - y1],
        "area": (x2 - x1) * (y2 - y1) * 0.8,
        "iscrowd": crowd,
        "segmentation": _run_lengths(mask) if crowd else polygons,
        "keypoints": [0] * 51 if unlabeled else keypoints.flatten().tolist(),
        "num_keypoints": 0 if unlabeled else int((keypoints[:, 2] > 0).sum()),
    }


def _run_lengths(mask: np.ndarray) -> dict:
    """COCO's uncompressed run lengths, column by column, beginning with zeros."""
    values = mask.flatten(order="F")
    changes = np.flatnonzero(np.diff(values)) + 1
    lengths = np.diff(np.concatenate([[0], changes, [len(values)]])).tolist()
    return {"size": list(mask.shape), "counts": [0, *lengths] if values[0] else lengths}


def _detections(random: np.random.Generator, objects: list, strays: int, height: int, width: int) -> Detections:
    """Some objects found more or less exactly, some twice, and strays anywhere; scores of one decimal."""
    jittered = [item for item in objects for _ in range(random.integers(0, 3))]
    jittered = [(box + random.normal(0, 3, 4), points + random.normal(0, 2, points.shape)) for box, points in jittered]
    jittered += [_object(random, height, width) for _ in range(strays)]
    order = random.permutation(len(jittered))
    boxes = torch.tensor(np.array([jittered[i][0] for i in order]).reshape(-1, 4), dtype=torch.float32)
    keypoints = np.array([jittered[i][1] for i in order]).reshape(-1, 17, 3)
    labels = random.choice(4, len(jittered), p=[0.2, 0.6, 0.1, 0.1])
    masks = torch.zeros(len(jittered), height, width, dtype=torch.bool)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes.round().int().tolist(), strict=True):
        mask[max(y1, 0) : max(y2, 0), max(x1, 0) : max(x2, 0)] = True
    return Detections(
        boxes=boxes,
        scores=torch.tensor(random.integers(0, 11, len(jittered)) / 10, dtype=torch.float32),
        labels=torch.tensor(labels, dtype=torch.int64),
        masks=masks,
        keypoints=torch.tensor(keypoints, dtype=torch.float32),
    )


def _reference(annotations: dict, results: list[dict], iou_type: str) -> dict[str, float]:
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = copy.deepcopy(annotations)
        truth.createIndex()
        coco_eval = COCOeval(truth, truth.loadRes(copy.deepcopy(results)), iou_type)
        coco_eval.evaluate()
        coco_eval.accumulate()
        coco_eval.summarize()
    return dict(zip(NAMES[iou_type], coco_eval.stats.tolist(), strict=True))
