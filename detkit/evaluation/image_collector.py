"""Answers for whole images that come image by image, while a model runs, kept for an evaluation at the end."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
from rich.console import RenderableType

from detkit.deprecation import rename_hooks
from detkit.errors import InputError
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE
from detkit.evaluation.evaluator import Evaluator, Report, ReportOptions
from detkit.evaluation.files.coco_json import read_json
from detkit.evaluation.ground_truth import plain_id
from detkit.evaluation.tables.detection_report import metrics_entry
from detkit.evaluation.tables.image_report import confusion_table, image_class_table, image_table, write_confusion
from detkit.structures import UNUSED_LABEL, Category, Classification, Detections, Target

TOP = 5
"""How many answers of an image are looked at, as ILSVRC's top-5 error does."""

AnswerT = TypeVar("AnswerT", Classification, Detections)


@dataclass(frozen=True, eq=False)
class ImageTruth:
    """The classes of images as a whole.

    Args:
        source: how messages name it.
        categories: the K classes, sorted by id.
        image_ids: the n images.
        labels: ``(n,)`` int64 position in `categories` of each image's class.
        boxes: of each image the boxes ``(m, 4)`` float64 ``x1 y1 x2 y2`` of its class.
    """

    source: str
    categories: list[Category]
    image_ids: list[Any]
    labels: np.ndarray
    boxes: list[np.ndarray]


@dataclass(frozen=True, eq=False)
class ImageEvaluation:
    """The outcome of an evaluation of whole images.

    Args:
        task: ``classification`` or ``localization``.
        categories: the K classes, sorted by id.
        labels: ``(n,)`` int64, the class of each image.
        answers: ``(n, 5)`` int64, the classes that were answered, best first, -1 where there are none.
        values: of each number its value for each image ``(n,)``, of which the number is the mean.
    """

    task: str
    categories: list[Category]
    labels: np.ndarray
    answers: np.ndarray
    values: dict[str, np.ndarray]

    @property
    def metrics(self) -> dict[str, float]:
        """The numbers in 0..1 by name, -1 where there are no images."""
        return {name: _mean(values) for name, values in self.values.items()}

    @property
    def confusion(self) -> np.ndarray:
        """``(K, K)`` how many images of the class of a row were taken for that of a column, of those with an answer."""
        classes, answered = len(self.categories), self.answers[:, 0] >= 0
        pairs = self.labels[answered] * classes + self.answers[answered, 0]
        return np.bincount(pairs, minlength=classes**2).reshape(classes, classes)

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: the numbers of its images, and how many ``images`` there are."""
        return {
            category.name: {name: _mean(values[self.labels == k]) for name, values in self.values.items()}
            | {"images": int((self.labels == k).sum())}
            for k, category in enumerate(self.categories)
        }


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else NOTHING_TO_MEASURE


class ImageCollector(Evaluator, Generic[AnswerT]):
    """Collects the answers for images: what the evaluators of classification and localization share.

    Every image of the annotations counts; one that is never updated has no answer, which is wrong. An image that is
    updated twice keeps the later answer.

    Args:
        annotations: path of a COCO file whose images have a ``category_id``, as
            `detkit.data.DetectionDataset.ground_truth` gives it, or the dict that it holds.
        categories: ``categories[k]`` is the category of label ``k``; they are found among those of the annotations by
            name. Default: the annotations' own, sorted by id.

    Raises:
        InputError: the annotations cannot be evaluated against, or a category is not among theirs.
    """

    extras = frozenset({"confusion"})

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        rename_hooks(cls, {"_judged": "judge"})

    def __init__(self, annotations: str | Path | dict, categories: Sequence[Category] | None = None) -> None:
        super().__init__(annotations, categories)
        self.truth = read_image_truth(annotations)
        self.categories = list(self.truth.categories if categories is None else categories)
        self._positions = _positions(self.categories, self.truth)
        self._numbers = {key: number for number, key in enumerate(self.truth.image_ids)}

    def keep(self, target: Target, answer: AnswerT) -> Any:
        """What counts of the answer for an image, which is best first; boxes in pixels of the image.

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
        return self.judge(self._numbers[image_id], self._positions[labels], answer)

    def check_image(self, image_id: Any, source: str) -> None:
        """Raise an `InputError` where the annotations have no such image."""
        if image_id not in self._numbers:
            raise InputError(
                f"{source}: image id {image_id!r} is not among the {len(self._numbers)} images of {self.truth.source}; "
                "evaluate against the annotations that the answers were made for"
            )

    def report(self, evaluation: ImageEvaluation, options: ReportOptions) -> Report:
        """The numbers, those of the classes, and which class was taken for which, also in a file."""
        tables: list[RenderableType] = [image_table(evaluation)]
        tables += [image_class_table(evaluation)] if options.per_class else []
        tables.append(confusion_table(evaluation))
        if options.confusion:
            write_confusion(evaluation, options.confusion)
        return Report(tables, metrics_entry(evaluation, options.per_class))

    def judge(self, number: int, classes: np.ndarray, answer: AnswerT) -> Any:
        """What is kept of an answer: what a subclass gives.

        Args:
            number: of the image in `truth`.
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
            raise InputError(f"{source}: images have no class as a whole (category_id); set data.image_class")
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
        boxes=[np.array(found, dtype=np.float64).reshape(-1, 4) for found in boxes.values()],
    )


def _positions(categories: Sequence[Category], truth: ImageTruth) -> np.ndarray:
    """int64 ``(K,)`` of each label the position of its category in the ground truth, found by name; -1 for none."""
    names = {category.name: position for position, category in enumerate(truth.categories)}
    unknown = [one.name for one in categories if one.name not in names and one.name != UNUSED_LABEL]
    if unknown:
        raise InputError(
            f"the model's category {unknown[0]!r} is not in {truth.source}, which has {list(names)}; "
            "take the annotations that the model was trained for"
        )
    return np.array([names.get(one.name, -1) for one in categories], dtype=np.int64)
