"""The base class of evaluators of image classes: it keeps the answer for each image until all have come."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from rich.console import RenderableType

from detkit.deprecation import rename_hooks
from detkit.errors import InputError
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE
from detkit.evaluation.confusion.confusion_matrix import ConfusionMatrix
from detkit.evaluation.evaluator import Evaluator, Report, ReportOptions
from detkit.evaluation.files.coco_json import read_json
from detkit.evaluation.ground_truth import label_positions, plain_id
from detkit.evaluation.nothing_to_measure import why_nothing
from detkit.evaluation.tables.confusion_report import confusion_table, write_confusion
from detkit.evaluation.tables.detection_report import metrics_entry
from detkit.evaluation.tables.image_report import image_class_table, image_table
from detkit.evaluation.weighting.image_weighting import ImageMeans, MeasuredData
from detkit.structures import Category, Classification, Detections, Target

TOP = 5
"""The number of classes of an answer that count, as in ILSVRC's top-5 error."""

AnswerT = TypeVar("AnswerT", Classification, Detections)


@dataclass(frozen=True, eq=False)
class ImageTruth:
    """The true class of each image.

    Args:
        source: how messages name it.
        categories: the K classes, sorted by id.
        image_ids: the n images.
        labels: ``(n,)`` int64 the position in `categories` of each image's class.
        boxes: for each image the boxes ``(m, 4)`` float64 ``x1 y1 x2 y2`` of its class.
    """

    source: str
    categories: list[Category]
    image_ids: list[Any]
    labels: np.ndarray
    boxes: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class ImageEvaluation:
    """The result of an evaluation of image classes.

    Args:
        task: ``classification`` or ``localization``.
        categories: the K classes, sorted by id.
        labels: ``(n,)`` int64, the class of each image.
        answers: ``(n, 5)`` int64, the predicted classes, best first, -1 where there are fewer.
        values: for each metric its value in each image ``(n,)``; the metric is their mean.
        scores: ``(n, 5)`` float64, the scores of `answers`, NaN where there are fewer; None: unknown.
        boxes: ``(n, 5, 4)`` float64 ``x1 y1 x2 y2``, the boxes of `answers`; None: they have none.
    """

    task: str
    categories: list[Category]
    labels: np.ndarray
    answers: np.ndarray
    values: dict[str, np.ndarray]
    scores: np.ndarray | None = None
    boxes: np.ndarray | None = None

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers in 0..1 by name, -1 where there are no images."""
        return {name: _mean(values) for name, values in self.values.items()}

    @property
    def confusion(self) -> np.ndarray:
        """``(K, K)`` the confusion matrix of images with an answer: true class by row, predicted class by column."""
        classes, answered = len(self.categories), self.answers[:, 0] >= 0
        pairs = self.labels[answered] * classes + self.answers[answered, 0]
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    @property
    def confusion_matrix(self) -> ConfusionMatrix:
        """The same with the names of the classes."""
        return ConfusionMatrix([category.name for category in self.categories], self.confusion, "images")

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: its metrics, and the number of its ``images``."""
        return {
            category.name: {name: _mean(values[self.labels == k]) for name, values in self.values.items()}
            | {"images": int((self.labels == k).sum())}
            for k, category in enumerate(self.categories)
        }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NOTHING_TO_MEASURE


class ImageCollector(Evaluator, Generic[AnswerT]):
    """Collects the answers for images; the base of the evaluators of classification and localization.

    Every image of the annotations counts; one that is never updated has no answer, which is wrong. An image that is
    updated twice keeps the later answer.

    Args:
        annotations: path of a COCO file whose images have a ``category_id``, as
            `detkit.data.DetectionDataset.ground_truth` gives it, or the dict that it holds.
        categories: ``categories[k]`` is the category of label ``k``; they are matched to those of the annotations by
            name. Default: the annotations' own, sorted by id.

    Raises:
        InputError: the annotations cannot be evaluated against, or a category is not among theirs.
    """

    extras = frozenset({"confusion"})
    ceiling_bounds = (0.99, 0.8)
    evaluation: ImageEvaluation | None

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        rename_hooks(cls, {"_judged": "compare"})

    def __init__(self, annotations: str | Path | dict, categories: Sequence[Category] | None = None) -> None:
        super().__init__(annotations, categories)
        self.truth = read_image_truth(annotations)
        self.categories = list(self.truth.categories if categories is None else categories)
        self._positions = label_positions(self.categories, self.truth.categories, self.truth.source)
        self._numbers = {key: number for number, key in enumerate(self.truth.image_ids)}

    def keep(self, target: Target, answer: AnswerT) -> object:
        """The part of an answer that counts; the answer is sorted by score, its boxes are in pixels of the image.

        Raises:
            InputError: the answer does not fit.
        """
        image_id = plain_id(target.image_id)
        labels = answer.labels[:TOP].detach().cpu().numpy()
        if len(labels) and not 0 <= labels.min() <= labels.max() < len(self.categories):
            raise InputError(
                f"answer for image {image_id!r}: its labels {labels.tolist()} are not all in "
                f"0..{len(self.categories) - 1}; give the evaluator the model's categories"
            )
        return self.compare(self._numbers[image_id], self._positions[labels], answer)

    def check_image(self, image_id: Any, source: str) -> None:
        """Raise an `InputError` where the annotations have no such image."""
        if image_id not in self._numbers:
            raise InputError(
                f"{source}: image id {image_id!r} is not among the {len(self._numbers)} images of {self.truth.source}; "
                "evaluate against the annotations that the answers were made for"
            )

    def say_nothing(self) -> None:
        """Say why numbers mean nothing, where they do."""
        truth, classes = self.truth, len(self.truth.categories)
        names = [category.name for category in truth.categories]
        images = np.bincount(truth.labels, minlength=classes)
        self.warn_once(
            why_nothing(truth.source, len(truth.labels), names, images, len(self.kept), self.answers_called, "images")
        )

    def evaluate(self) -> ImageEvaluation:
        """The numbers of all images, with those of each class and the confusion matrix."""
        self.say_nothing()
        return self.compared()

    def compared(self) -> ImageEvaluation:
        """What `evaluate` gives, without a word where it means nothing. A subclass implements this, or `evaluate`."""
        raise NotImplementedError

    def chance(self) -> float:
        """The share of the commonest class, plus three standard deviations of such a share."""
        images = len(self.truth.labels)
        share = float(np.bincount(self.truth.labels).max() / images) if images else 0.0
        return min(1.0, share + 3 * math.sqrt(max(share * (1 - share), 0.01) / max(images, 1)))

    def image_weighting(self) -> ImageMeans:
        """The means over weighted images.

        Raises:
            InputError: there are no images.
        """
        if not self.truth.image_ids:
            raise InputError(f"{self.truth.source} has no images, so there is nothing to resample: give other data.")
        return ImageMeans(self.measured_data(), self.compared().values, self.truth.labels)

    def measured_data(self) -> MeasuredData:
        """The class of each image."""
        truth, images = self.truth, len(self.truth.image_ids)
        names = [category.name for category in truth.categories]
        return MeasuredData(
            truth.source, truth.image_ids, names, np.arange(images), truth.labels, np.zeros((images, 0))
        )

    def report(self, evaluation: ImageEvaluation, options: ReportOptions) -> Report:
        """The metrics, those of each class, and the confusion matrix, which is also written to a file."""
        tables: list[RenderableType] = [image_table(evaluation)]
        tables += [image_class_table(evaluation)] if options.per_class else []
        tables.append(confusion_table(evaluation))
        if options.confusion:
            write_confusion(evaluation, options.confusion)
        return Report(tables, metrics_entry(evaluation, options.per_class))

    def compare(self, number: int, classes: np.ndarray, answer: AnswerT) -> object:
        """Compare an answer with the truth; gives what is kept of it. A subclass implements it.

        Args:
            number: the position of the image in `truth`.
            classes: ``(n,)`` int64, the positions of the answer's best labels among the categories of `truth`.
            answer: as the model gives it, best first.
        """
        raise NotImplementedError


def read_image_truth(annotations: str | Path | dict) -> ImageTruth:
    """The classes of images from a COCO file whose images have a ``category_id``, or from its content.

    Raises:
        InputError: it is no such file; the message says what is missing.
    """
    source = "annotations" if isinstance(annotations, dict) else str(annotations)
    content = annotations if isinstance(annotations, dict) else read_json(Path(annotations))
    try:
        categories = sorted((Category(one["id"], one["name"]) for one in content["categories"]), key=lambda one: one.id)
        position = {category.id: k for k, category in enumerate(categories)}
        images = content["images"]
        if any("category_id" not in image for image in images):
            raise InputError(f"{source}: images have no class (category_id); set data.image_class")
        labels = {image["id"]: position[image["category_id"]] for image in images}
        boxes: dict[Any, list] = {image["id"]: [] for image in images}
        for one in content["annotations"]:
            if position[one["category_id"]] == labels[one["image_id"]] and not one.get("iscrowd"):
                x, y, width, height = one["bbox"]
                boxes[one["image_id"]].append((x, y, x + width, y + height))
    except (KeyError, TypeError) as error:
        raise InputError(f"{source} is no COCO file with a class for each image ({error!r})") from error
    return ImageTruth(
        source=source,
        categories=categories,
        image_ids=list(labels),
        labels=np.array(list(labels.values()), dtype=np.int64),
        boxes=[np.array(rows, dtype=np.float64).reshape(-1, 4) for rows in boxes.values()],
    )
