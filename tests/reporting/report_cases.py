"""Evaluations for pages: detections whose kinds of error are known, with names that must be escaped."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from detkit.data.image_dataset import ImageDataset
from detkit.evaluation import ClassificationEvaluator, CocoEvaluator, Evaluator
from detkit.reporting import Evaluated, PageOptions
from detkit.structures import Category, Classification, Detections, Target

EVIL = "<script>window.evil = 1</script>"
QUOTED = "\"'&</script>ü"
CATEGORIES = [Category(1, EVIL), Category(2, QUOTED), Category(3, "star")]
SIZE = 100
NAME = "{:03d}.jpg"


class Images(ImageDataset):
    """Gray images of 100 pixels, with objects.

    Args:
        boxes: for each image its objects, ``(x1, y1, x2, y2, label)``.
        labels: the class of each image; None: they have none.
    """

    def __init__(self, boxes: list[list[tuple[float, ...]]], labels: list[int] | None = None) -> None:
        self.boxes, self.labels = boxes, labels

    categories = CATEGORIES

    @property
    def image_ids(self) -> list[int]:
        return list(range(1, len(self.boxes) + 1))

    @property
    def image_sizes(self) -> np.ndarray:
        return np.full((len(self.boxes), 2), SIZE)

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        return np.full((SIZE, SIZE, 3), 40 + index % 100, np.uint8), self.target(index)

    def target(self, index: int) -> Target:
        rows = self.boxes[index]
        return Target(
            boxes=torch.tensor([row[:4] for row in rows], dtype=torch.float32).reshape(-1, 4),
            labels=torch.tensor([int(row[4]) for row in rows], dtype=torch.int64),
            image_id=index + 1,
            image_label=None if self.labels is None else self.labels[index],
        )


def detections(*rows: tuple[float, ...]) -> Detections:
    """Of ``(x1, y1, x2, y2, label, score)``."""
    table = torch.tensor(rows, dtype=torch.float32).reshape(-1, 6)
    return Detections(table[:, :4], table[:, 5], table[:, 4].long())


# One kind of error in each image, the last one without any.
OBJECT = (20.0, 20.0, 60.0, 60.0)
KINDS: list[tuple[str, list[tuple[float, ...]], Detections]] = [
    ("classification", [(*OBJECT, 0)], detections((*OBJECT, 1, 0.9))),
    ("localization", [(*OBJECT, 0)], detections((40, 20, 80, 60, 0, 0.8))),
    ("both", [(*OBJECT, 0)], detections((40, 20, 80, 60, 2, 0.7))),
    ("duplicate", [(*OBJECT, 1)], detections((*OBJECT, 1, 0.9), (21, 20, 61, 60, 1, 0.6))),
    ("background", [(*OBJECT, 2)], detections((*OBJECT, 2, 0.9), (70, 70, 95, 95, 2, 0.5))),
    ("missed", [(*OBJECT, 2)], detections()),
    ("correct", [(*OBJECT, 2)], detections((*OBJECT, 2, 0.95))),
]


def detected(options: PageOptions | None = None, copies: int = 1) -> Evaluated:
    """All kinds of error, in images 1 to 7, as often as `copies` says."""
    cases = KINDS * copies
    dataset = Images([boxes for _, boxes, _ in cases])
    return _evaluated(CocoEvaluator, dataset, [found for _, _, found in cases], options or PageOptions(bootstrap=20))


def classified() -> Evaluated:
    """Images of which the second and the fourth are wrong, the fourth without any right answer."""
    labels = [0, 1, 2, 2]
    said = [[0, 1], [2, 1], [2, 0], [0, 1]]
    scores = torch.tensor([0.75, 0.25])
    answers = [Classification(scores, torch.tensor(one)) for one in said]
    return _evaluated(ClassificationEvaluator, Images([[] for _ in labels], labels), answers, PageOptions())


def _evaluated(kind: Any, dataset: Images, answers: list[Any], options: PageOptions) -> Evaluated:
    evaluator: Evaluator = kind(dataset.ground_truth(), categories=CATEGORIES)
    evaluator.update([dataset.target(index) for index in range(len(dataset))], answers)
    evaluator.compute()
    return Evaluated({evaluator.name: evaluator}, dataset, options)
