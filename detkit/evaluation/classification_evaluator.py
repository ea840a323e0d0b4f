"""The evaluator of image classification: top-1, top-5 and the confusion matrix (Russakovsky 2015, section 4.1)."""

from __future__ import annotations

import numpy as np

from detkit.evaluation.image_collector import TOP, ImageCollector, ImageEvaluation
from detkit.structures import Classification


class ClassificationEvaluator(ImageCollector[Classification]):
    """Collects the answers for images and computes top-1 and top-5 accuracy.

    Detections are taken as answers too, each box standing for its class. Arguments as of `ImageCollector`.
    """

    name = "classification"
    reads = "labels"
    headline = "top1"

    def compared(self) -> ImageEvaluation:
        """``top1`` and ``top5``, with those of each class and the confusion matrix."""
        truth = self.truth
        answers = top_classes([self.kept.get(image_id) for image_id in truth.image_ids])
        correct = answers == truth.labels[:, None]
        values = {"top1": correct[:, 0], "top5": correct.any(axis=1)}
        return ImageEvaluation("classification", truth.categories, truth.labels, answers, values)

    def compare(self, number: int, classes: np.ndarray, answer: Classification) -> np.ndarray:
        return classes


def top_classes(kept: list[np.ndarray | None]) -> np.ndarray:
    """The first five classes of each image, None for one without an answer, as ``(n, 5)`` padded with -1."""
    answers = np.full((len(kept), TOP), -1, dtype=np.int64)
    for row, classes in zip(answers, kept, strict=True):
        if classes is not None:
            row[: len(classes)] = classes
    return answers
