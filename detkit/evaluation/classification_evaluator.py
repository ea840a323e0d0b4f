"""Classification of whole images: top-1, top-5 and who is taken for whom (Russakovsky 2015, section 4.1)."""

from __future__ import annotations

import numpy as np

from detkit.evaluation.image_collector import TOP, ImageCollector, ImageEvaluation
from detkit.structures import Classification


class ClassificationEvaluator(ImageCollector[Classification]):
    """Collects the answers for images and counts how often the class is the first, or among the first five.

    Detections will do as answers, each box standing for its class. Arguments as of `ImageCollector`.
    """

    name = "classification"
    reads = "labels"
    headline = "top1"

    def evaluate(self) -> ImageEvaluation:
        """As `compute`: ``top1`` and ``top5``; with the numbers of each class and the confusion matrix."""
        truth = self.truth
        answers = answered_classes([self.kept.get(image_id) for image_id in truth.image_ids])
        right = answers == truth.labels[:, None]
        values = {"top1": right[:, 0], "top5": right.any(axis=1)}
        return ImageEvaluation("classification", truth.categories, truth.labels, answers, values)

    def judge(self, number: int, classes: np.ndarray, answer: Classification) -> np.ndarray:
        return classes


def answered_classes(kept: list[np.ndarray | None]) -> np.ndarray:
    """Classes of images, some of which have none, as one array ``(n, 5)``, filled with -1."""
    answers = np.full((len(kept), TOP), -1, dtype=np.int64)
    for row, classes in zip(answers, kept, strict=True):
        if classes is not None:
            row[: len(classes)] = classes
    return answers
