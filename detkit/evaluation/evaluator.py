"""The base class of evaluators, and their results: metrics and a report."""

from __future__ import annotations

import logging
import math
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from rich.console import RenderableType
from rich.table import Table
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE, plain_id
from detkit.evaluation.weighting.image_weighting import ImageWeighting
from detkit.structures import Category, Target

logger = logging.getLogger(__name__)


class EvaluationResult(Protocol):
    """What `Evaluator.evaluate` gives: an `Evaluation`, or a class of your own with these members."""

    @property
    def metrics(self) -> Mapping[str, float]:
        """The metrics by name."""

    def per_class(self) -> Mapping[str, Mapping[str, Any]]:
        """The metrics of each class by its name."""


@dataclass(frozen=True)
class Evaluation:
    """A result of an evaluation that holds metrics alone.

    Args:
        metrics: the metrics by name.
        classes: the metrics of each class by its name; empty where classes have none.
    """

    metrics: dict[str, float]
    classes: dict[str, dict[str, float]] = field(default_factory=dict)

    def per_class(self) -> dict[str, dict[str, float]]:
        """The metrics of each class by its name."""
        return self.classes


@dataclass(frozen=True)
class ReportOptions:
    """What a report holds besides the metrics.

    Args:
        per_class: the metrics of each class.
        bootstrap: confidence intervals from this number of samples; 0: none.
        errors: the kinds of errors, and how much AP each costs.
        curves: draw precision and recall to this file.
        confusion: write the confusion matrix to this file.
    """

    per_class: bool = False
    bootstrap: int = 0
    errors: bool = False
    curves: Path | None = None
    confusion: Path | None = None

    def extras(self) -> list[str]:
        """The requested parts that not every evaluator has: names among its `Evaluator.extras`."""
        return [name for name in ("bootstrap", "errors", "curves", "confusion") if getattr(self, name)]

    def named(self, name: str) -> ReportOptions:
        """The same with `name` in the names of the files, so that several evaluators do not overwrite each other's."""
        files = {key: getattr(self, key) for key in ("curves", "confusion")}
        return replace(
            self, **{key: path.with_stem(f"{path.stem}_{name}") for key, path in files.items() if path is not None}
        )


@dataclass(frozen=True)
class Report:
    """The tables and numbers of an evaluation.

    Args:
        tables: for the terminal; a string is printed as it is.
        numbers: for a JSON file.
    """

    tables: list[RenderableType]
    numbers: dict[str, Any]


class Evaluator(ABC):
    """Collects the answers of a model image by image and computes metrics from all of them.

    A subclass implements `keep`, which gives what is needed of an image, and `evaluate`. What is kept must be
    picklable, so that several processes can share the images; an image that comes twice counts once, with the later
    answer. A config names evaluators by class, ``evaluators: [{class_path: my_package.MyEvaluator, init_args: {…}}]``:
    the data set fills in the first argument of the constructor, the model ``categories``, the config all others.

    Args:
        annotations: the data set's ground truth: the path of a COCO file, or its content.
        categories: the model's; ``categories[k]`` is the class of label ``k``.

    Attributes:
        name: the prefix of the metrics in logs and their key in ``metrics.json``.
        reads: the part of an answer that is evaluated: ``boxes``, ``masks``, ``keypoints``, ``labels`` …
        headline: the most important metric; that of a training's first evaluator selects the best epoch.
        higher_is_better: whether a greater headline is better.
        scale: what the metrics are multiplied by to be shown: 1 shows them as they are, 100 those in 0..1 in percent.
        unscaled: the metrics that are shown as they are where the others are in percent, such as distances.
        weights_answers: whether `image_weighting` needs answers, since what was measured is known with them alone.
        extras: the fields of `ReportOptions` that the report supports besides the metrics of each class, and
            ``save_detections`` where there are `results`.
        answers_called: what messages call the answers.
        ceiling_bounds: ``detkit doctor`` warns where a perfect network gets a worse headline than the first, and fails
            where it gets a worse one than the second. None: it goes by the share of the truth that comes back.
        kept: what `keep` gave, by image id.
        evaluation: the result of the last `compute`; None before.
    """

    name: str
    reads: str
    headline: str
    higher_is_better: bool = True
    scale: float = 1.0
    unscaled: frozenset[str] = frozenset()
    weights_answers: bool = False
    extras: frozenset[str] = frozenset()
    answers_called: str = "answers"
    ceiling_bounds: tuple[float, float] | None = None
    evaluation: EvaluationResult | None
    _warned: frozenset[str] = frozenset()

    def __init__(self, annotations: str | Path | dict, categories: Sequence[Category] | None = None) -> None:
        self.categories = list(categories or [])
        self.evaluation = None
        self.kept: dict[Any, Any] = {}

    @abstractmethod
    def keep(self, target: Target, answer: Any) -> object:
        """What the evaluation needs of an image: of its target, and of the answer in pixels of the image.

        Raises:
            InputError: the answer cannot be evaluated.
        """

    def keep_batch(self, targets: Sequence[Target], answers: Sequence[Any]) -> Iterable[object]:
        """What `keep` gives for each of several images; override it to compare all of them at once."""
        return (self.keep(target, answer) for target, answer in zip(targets, answers, strict=True))

    @abstractmethod
    def evaluate(self) -> EvaluationResult:
        """The result for all that is kept: an `Evaluation`, or another object with ``metrics`` and ``per_class()``."""

    def check_image(self, image_id: Any, source: str) -> None:  # noqa: B027 (nothing to check is a choice)
        """Raise an `InputError` where the annotations lack an image that `source` names; default: accept any."""

    def reset(self) -> None:
        """Discard all answers; the ground truth stays."""
        self.kept = {}
        self.evaluation = None

    def update(self, targets: Sequence[Target] | Sequence[Any] | Tensor, answers: Sequence[Any]) -> None:
        """Add the answers for some images.

        Args:
            targets: the target of each image; its ``image_id`` identifies the image. (Deprecated: the ids.)
            answers: what the model gave for each image, in its pixels.

        Raises:
            InputError: an image is not in the annotations, or an answer cannot be evaluated.
        """
        if len(targets) != len(answers):
            raise InputError(
                f"update() got {len(targets)} image ids for the {self.answers_called} of {len(answers)} images"
            )
        targets = _with_ids(targets)
        image_ids = [plain_id(target.image_id) for target in targets]
        for image_id in image_ids:
            self.check_image(image_id, self.answers_called)
        self.kept.update(zip(image_ids, self.keep_batch(targets, answers), strict=True))

    def state(self) -> dict[Any, Any]:
        """What is kept so far, by image id, to send to another process."""
        return dict(self.kept)

    def merge(self, states: Iterable[dict[Any, Any]]) -> None:
        """Add the `state` of other evaluators of the same annotations, each image counted once."""
        for state in states:
            for image_id, kept in state.items():
                self.check_image(image_id, "merged state")
                self.kept[image_id] = kept

    def compute(self) -> dict[str, float]:
        """The metrics by name, `headline` among them; `evaluation` then holds the whole result."""
        evaluation = self.evaluate()
        if not hasattr(evaluation, "metrics"):
            raise InputError(
                f"{type(self).__name__}.evaluate gives a {type(evaluation).__name__}: it must give a "
                "detkit.evaluation.Evaluation, or another object with metrics and per_class()"
            )
        self.evaluation = evaluation
        value = evaluation.metrics.get(self.headline)
        if not self._warned and value is not None and (math.isnan(value) or value == NOTHING_TO_MEASURE):
            self.warn_once(f"{self.name}: {self.headline} is {value:g}, since there is nothing to measure it with")
        return dict(evaluation.metrics)

    def chance(self) -> float | None:
        """The headline that a model which has learned nothing hardly exceeds, on the images of the ground truth.

        ``detkit doctor`` fails where an untrained model has a better one. None: unknown.
        """
        return None

    def warn_once(self, sentence: str | None) -> None:
        """Warn with a sentence, such as one that says why numbers mean nothing; once for each evaluator."""
        if sentence is not None and sentence not in self._warned:
            self._warned |= {sentence}
            logger.warning("%s", sentence)

    def scale_of(self, metric: str) -> float:
        """What a metric is multiplied by to be shown: `scale`, or 1 where it is `unscaled`."""
        return 1.0 if metric in self.unscaled else self.scale

    def log_name(self, number: str) -> str:
        """The name of a metric in the logs of validations."""
        return f"val/{self.name}/{number}"

    def report(self, evaluation: Any, options: ReportOptions) -> Report:
        """Tables and numbers of a result of `evaluate`; writes the files that `options` names."""
        numbers: dict[str, Any] = dict(evaluation.metrics)
        tables: list[RenderableType] = [plain_table(self.name, {"": evaluation.metrics})]
        if options.per_class:
            numbers["per_class"] = evaluation.per_class()
            tables += [plain_table(f"{self.name} by class", numbers["per_class"])] if numbers["per_class"] else []
        return Report(tables, numbers)

    def image_weighting(self) -> ImageWeighting:
        """The evaluation with images that can be weighted, as ``detkit compare`` resamples it.

        Raises:
            InputError: the evaluator does not define it, or there is nothing to measure.
        """
        raise InputError(
            f"{type(self).__name__} cannot weight images, which resampling needs: let its image_weighting() return a "
            "detkit.evaluation.ImageMeans, or another ImageWeighting."
        )

    def results(self) -> list[dict[str, Any]]:
        """What is kept, in COCO's results format.

        Raises:
            InputError: the evaluator has nothing of that kind.
        """
        raise InputError(f"{type(self).__name__} has no results in COCO's format: leave out --save_detections.")

    def read(self, detections: str | Path | list[dict]) -> None:
        """Read the answers for all images from a file in COCO's results format, or from its content.

        Raises:
            InputError: the file cannot be read, or the evaluator does not support files.
        """
        raise InputError(f"{type(self).__name__} evaluates a model: give --checkpoint instead of --detections.")


def plain_table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table with a row for each of `rows` and a column for each of its numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.4g}" if column in row else "" for column in columns))
    return table


def _with_ids(targets: Sequence[Any] | Tensor) -> list[Any]:
    """The targets; image ids become targets that hold nothing else."""
    targets = list(targets)
    if all(hasattr(target, "image_id") for target in targets):
        return targets
    warnings.warn(
        "update(image_ids, answers) is deprecated: give the targets of the images, update(targets, answers)",
        DeprecationWarning,
        stacklevel=3,
    )
    return [Target.empty(image_id=plain_id(image_id)) for image_id in targets]
