"""Random images with objects and detections, and their confusion matrices by supervision 0.31.2.

``python confusion_cases.py`` writes the matrices anew, where supervision is installed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

EXPECTED = Path(__file__).with_name("supervision_0_31_2.json")
SEEDS = range(24)
CLASSES = 4
IMAGES = 12
SCORE, IOU = 0.3, 0.5

Image = dict[str, np.ndarray]


def case(seed: int) -> list[Image]:
    """Images of up to 9 objects; detections near to them, some of other classes, some twice, and some elsewhere."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(IMAGES):
        corner = random.uniform(0, 60, (random.integers(0, 10), 2))
        objects = np.concatenate([corner, corner + random.uniform(15, 40, corner.shape)], axis=1)
        labels = random.integers(CLASSES, size=len(objects))
        copied = random.integers(max(len(objects), 1), size=random.integers(0, 14) if len(objects) else 0)
        near = objects[copied] + random.normal(0, 3, (len(copied), 4))
        kept = random.random(len(copied)) < 0.7
        near_labels = np.where(kept, labels[copied] if len(labels) else 0, random.integers(CLASSES, size=len(copied)))
        corner = random.uniform(0, 60, (random.integers(0, 4), 2))
        far = np.concatenate([corner, corner + random.uniform(15, 40, corner.shape)], axis=1)
        boxes = np.concatenate([near, far]).astype(np.float32).astype(np.float64)
        images.append({
            "objects": objects.astype(np.float32).astype(np.float64),
            "labels": labels,
            "boxes": boxes,
            "classes": np.concatenate([near_labels, random.integers(CLASSES, size=len(far))]).astype(np.int64),
            "scores": random.random(len(boxes)),
        })  # fmt: skip
    return images


def annotations(images: list[Image], crowds: tuple[tuple[int, int], ...] = ()) -> dict[str, Any]:
    """COCO's annotations; `crowds` are positions of images and of objects in them."""
    entries = [
        (number, row, label, [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()])
        for number, image in enumerate(images)
        for row, (box, label) in enumerate(zip(image["objects"], image["labels"].tolist(), strict=True))
    ]
    return {
        "images": [{"id": number, "width": 100, "height": 100} for number in range(len(images))],
        "categories": [{"id": k + 1, "name": f"class{k}"} for k in range(CLASSES)],
        "annotations": [
            {"id": index + 1, "image_id": number, "category_id": label + 1, "bbox": box, "area": box[2] * box[3],
             "iscrowd": int((number, row) in crowds)}
            for index, (number, row, label, box) in enumerate(entries)
        ],
    }  # fmt: skip


def detections(images: list[Image]) -> list[dict[str, Any]]:
    """COCO's results."""
    return [
        {"image_id": number, "category_id": label + 1, "bbox": [*box[:2].tolist(), *(box[2:] - box[:2]).tolist()],
         "score": score}
        for number, image in enumerate(images)
        for box, label, score in zip(image["boxes"], image["classes"].tolist(), image["scores"].tolist(), strict=True)
    ]  # fmt: skip


def main() -> None:
    """Write what supervision counts."""
    import supervision

    matrices = []
    for seed in SEEDS:
        images = case(seed)
        predictions = [
            supervision.Detections(one["boxes"], class_id=one["classes"], confidence=one["scores"]) for one in images
        ]
        targets = [supervision.Detections(one["objects"], class_id=one["labels"]) for one in images]
        names = [f"class{k}" for k in range(CLASSES)]
        matrix = supervision.ConfusionMatrix.from_detections(predictions, targets, names, SCORE, IOU).matrix
        matrices.append(matrix.astype(int).tolist())
    EXPECTED.write_text(json.dumps({"supervision": supervision.__version__, "matrices": matrices}) + "\n")


if __name__ == "__main__":
    main()
