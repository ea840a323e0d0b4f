"""The evaluator of single-object localization: ILSVRC's error (Russakovsky 2015, section 4.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from detkit.errors import InputError
from detkit.evaluation.classification_evaluator import padded, part_of, top_classes
from detkit.evaluation.image_collector import TOP, ImageCollector, ImageEvaluation
from detkit.evaluation.weighting.image_weighting import MeasuredData
from detkit.ops import box_iou
from detkit.structures import Category, Detections


class LocalizationEvaluator(ImageCollector[Detections]):
    """Collects the answers for images and computes ILSVRC's localization error.

    An answer of up to five boxes is correct if one of them has the class of the image and an IoU of at least the
    threshold with any of the objects of that class.

    Args:
        annotations: as of `ImageCollector`; each image with at least one object of its class.
        categories: as of `ImageCollector`.
        iou_threshold: 0.5 in ILSVRC.

    Raises:
        InputError: also where an image has no object.
    """

    name = "localization"
    reads = "boxes"
    headline = "top1_localization"
    scale = 100.0

    def __init__(
        self,
        annotations: str | Path | dict,
        categories: Sequence[Category] | None = None,
        iou_threshold: float = 0.5,
    ) -> None:
        super().__init__(annotations, categories)
        self.iou_threshold = iou_threshold
        for image_id, boxes in zip(self.truth.image_ids, self.truth.boxes, strict=True):
            if not len(boxes):
                raise InputError(
                    f"{self.truth.source}: image {image_id!r} has no object of its class, so that there is nothing "
                    "to localize; evaluate the classification"
                )

    def compared(self) -> ImageEvaluation:
        """As `compute`, with the metrics of each class and the confusion matrix.

        ``localization_error`` is ILSVRC's, for the best of up to five boxes; ``top5_localization`` is 1 minus it,
        ``top1_localization`` the accuracy of the first box alone; ``top1`` and ``top5`` are those of classification.
        """
        truth = self.truth
        kept = [self.kept.get(image_id) for image_id in truth.image_ids]
        answers = top_classes(part_of(kept, 0))
        is_on_object = padded(part_of(kept, 1), np.zeros(TOP, dtype=bool))
        correct = answers == truth.labels[:, None]
        localized = correct & is_on_object
        values = {
            "top1_localization": localized[:, 0],
            "top5_localization": localized.any(axis=1),
            "localization_error": ~localized.any(axis=1),
            "top1": correct[:, 0],
            "top5": correct.any(axis=1),
        }
        scores = padded(part_of(kept, 2), np.full(TOP, np.nan))
        boxes = padded(part_of(kept, 3), np.zeros((TOP, 4)))
        return ImageEvaluation("localization", truth.categories, truth.labels, answers, values, scores, boxes)

    def measured_data(self) -> MeasuredData:
        """The boxes of each image, which all have its class."""
        truth = self.truth
        images = np.repeat(np.arange(len(truth.boxes)), [len(boxes) for boxes in truth.boxes])
        return replace(
            super().measured_data(),
            images=images,
            labels=truth.labels[images],
            values=np.concatenate(truth.boxes),
            settings={"iou_threshold": self.iou_threshold},
        )

    def compare(
        self, number: int, classes: np.ndarray, answer: Detections
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """The classes, whether the box of each overlaps an object of the image's class enough, scores and boxes."""
        if getattr(answer, "boxes", None) is None:
            image_id = self.truth.image_ids[number]
            raise InputError(
                f"the answer for image {image_id!r} has no boxes to localize with: evaluate classification"
            )
        boxes = answer.boxes[:TOP].detach().cpu().double()
        ious = box_iou(boxes, torch.from_numpy(self.truth.boxes[number]))
        scores = answer.scores[:TOP].detach().cpu().double()
        return classes, (ious >= self.iou_threshold).any(dim=1).numpy(), scores.numpy(), boxes.numpy()
