"""Images with objects, and detections of them by detectors whose quality is known."""

from __future__ import annotations

import numpy as np

from detkit.evaluation import CocoEvaluator


def made_truth(random: np.random.Generator, images: int, classes: int = 1, objects: int = 2) -> dict:
    """COCO's annotations of boxes at random."""
    annotations = []
    for number in range(images * objects):
        corner, size = random.uniform(0, 60, 2).tolist(), random.uniform(10, 40, 2).tolist()
        annotations.append({
            "id": number + 1, "image_id": number // objects, "category_id": int(random.integers(classes)) + 1,
            "bbox": corner + size, "area": size[0] * size[1], "iscrowd": 0,
        })  # fmt: skip
    return {
        "images": [{"id": k, "file_name": f"{k}.jpg", "height": 100, "width": 100} for k in range(images)],
        "categories": [{"id": k + 1, "name": f"class {k}"} for k in range(classes)],
        "annotations": annotations,
    }


def made_detections(random: np.random.Generator, truth: dict, recall: float = 0.8, noise: float = 2.0) -> list[dict]:
    """Objects that are detected with a probability, with boxes that miss theirs by some pixels."""
    detections = []
    for one in truth["annotations"]:
        box = np.maximum(np.array(one["bbox"]) + random.normal(0, noise, 4), 1).tolist()
        score = float(random.random())
        if random.random() < recall:
            entry = {"image_id": one["image_id"], "category_id": one["category_id"], "bbox": box, "score": score}
            detections.append(entry)
    return detections


def evaluator_of(truth: dict, detections: list[dict], make: type = CocoEvaluator) -> CocoEvaluator:
    """An evaluator that has read the detections."""
    evaluator = make(truth)
    evaluator.read(detections)
    return evaluator
