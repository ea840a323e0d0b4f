"""The evaluator of image classification: top-1, top-5 and the confusion matrix (Russakovsky 2015, section 4.1)."""

from __future__ import annotations

from collections.abc import Sequence

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
    scale = 100.0

    def compared(self) -> ImageEvaluation:
        """``top1`` and ``top5``, with those of each class and the confusion matrix."""
        truth = self.truth
        kept = [self.kept.get(image_id) for image_id in truth.image_ids]
        answers = top_classes(part_of(kept, 0))
        correct = answers == truth.labels[:, None]
        values = {"top1": correct[:, 0], "top5": correct.any(axis=1)}
        scores = padded(part_of(kept, 1), np.full(TOP, np.nan))
        return ImageEvaluation("classification", truth.categories, truth.labels, answers, values, scores)

    def compare(self, number: int, classes: np.ndarray, answer: Classification) -> tuple[np.ndarray, np.ndarray]:
        """The classes and their scores."""
        return classes, answer.scores[:TOP].detach().cpu().double().numpy()


def top_classes(kept: list[np.ndarray | None]) -> np.ndarray:
    """The first five classes of each image, None for one without an answer, as ``(n, 5)`` padded with -1."""
    return padded(kept, np.full(TOP, -1, dtype=np.int64))


def padded(kept: Sequence[np.ndarray | None], padding: np.ndarray) -> np.ndarray:
    """What is kept of n images, up to five rows each, as ``(n, 5, …)``; `padding` ``(5, …)`` fills missing rows."""
    rows = np.repeat(padding[None], len(kept), axis=0)
    for row, values in zip(rows, kept, strict=True):
        if values is not None:
            row[: len(values)] = values
    return rows


def part_of(kept: Sequence[tuple[np.ndarray, ...] | None], position: int) -> list[np.ndarray | None]:
    """One part of what is kept of each image; None for one without an answer."""
    return [None if one is None else one[position] for one in kept]
