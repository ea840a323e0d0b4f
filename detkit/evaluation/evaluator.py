"""What every evaluator is: the answers for images come in, numbers and a report come out."""

from __future__ import annotations

import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.table import Table
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.ground_truth import plain_id
from detkit.structures import Category, Target


@dataclass(frozen=True)
class Evaluation:
    """The outcome of an evaluation, for evaluators that need no more.

    Args:
        metrics: the numbers by name.
        classes: of each class by its name its numbers by name; empty where classes have none.
    """

    metrics: dict[str, float]
    classes: dict[str, dict[str, float]] = field(default_factory=dict)

    def per_class(self) -> dict[str, dict[str, float]]:
        """The numbers of each class by its name."""
        return self.classes


@dataclass(frozen=True)
class ReportOptions:
    """What a report holds beside the numbers.

    Args:
        per_class: the numbers of each class.
        bootstrap: confidence intervals, from so many samples; 0: none.
        errors: which kinds of errors there are, and what they cost.
        curves: draw precision and recall to this file.
        confusion: write which class was taken for which to this file.
    """

    per_class: bool = False
    bootstrap: int = 0
    errors: bool = False
    curves: Path | None = None
    confusion: Path | None = None

    def extras(self) -> list[str]:
        """What is asked for that an evaluator must be able to give: names among its `Evaluator.extras`."""
        return [name for name in ("bootstrap", "errors", "curves", "confusion") if getattr(self, name)]

    def named(self, name: str) -> ReportOptions:
        """The same with `name` in the names of the files, so that those of several evaluators can lie side by side."""
        files = {key: getattr(self, key) for key in ("curves", "confusion")}
        return replace(
            self, **{key: path.with_stem(f"{path.stem}_{name}") for key, path in files.items() if path is not None}
        )


@dataclass(frozen=True)
class Report:
    """What people and programs read of an evaluation.

    Args:
        tables: for the terminal; a text is printed as it is.
        numbers: for a JSON file.
    """

    tables: list[RenderableType]
    numbers: dict[str, Any]


class Evaluator(ABC):
    """Collects the answers of a model for images and computes numbers of them at the end.

    A subclass says what it `keep`\\ s of an image and how it `evaluate`\\ s that. What is kept can be pickled, so that
    several processes can share the images; an image that comes twice counts once, with the later answer. A config
    names evaluators by class, ``evaluators: [{class_path: my_package.MyEvaluator, init_args: {…}}]``: the first
    argument of the constructor is filled in by the data set, ``categories`` by the model, all others by the config.

    Args:
        annotations: the data set's truth: the path of its COCO file, or the content of one.
        categories: ``categories[k]`` is the class of label ``k``, as the model has it.

    Attributes:
        name: what stands before the numbers in logs and in ``metrics.json``.
        reads: the part of an answer that is looked at: ``boxes``, ``masks``, ``keypoints``, ``labels`` …
        headline: the most important number; as the first evaluator of a training it decides which epoch is the best.
        higher_is_better: whether a greater headline is a better one.
        extras: what of `ReportOptions` the report can hold beside the numbers of each class, and
            ``save_detections`` where there are `results`.
        answers_called: what messages call the answers.
        kept: what `keep` gave, by image id.
        evaluation: the outcome of the last `compute`; None before.
    """

    name: str
    reads: str
    headline: str
    higher_is_better: bool = True
    extras: frozenset[str] = frozenset()
    answers_called: str = "answers"

    def __init__(self, annotations: str | Path | dict, categories: Sequence[Category] | None = None) -> None:
        self.categories = list(categories or [])
        self.evaluation: Any = None
        self.kept: dict[Any, Any] = {}

    @abstractmethod
    def keep(self, target: Target, answer: Any) -> Any:
        """What the evaluation needs of an image: of its truth in a batch, and of the answer, in pixels of the image.

        Raises:
            InputError: the answer cannot be evaluated.
        """

    @abstractmethod
    def evaluate(self) -> Any:
        """The outcome for all that is kept: an `Evaluation`, or another object with ``metrics`` and ``per_class()``."""

    def check_image(self, image_id: Any, source: str) -> None:  # noqa: B027 (nothing to check is a choice)
        """Raise an `InputError` where the annotations have no such image, which `source` names; default: take any."""

    def reset(self) -> None:
        """Forget all answers; the truth stays."""
        self.kept = {}
        self.evaluation = None

    def update(self, targets: Sequence[Target] | Sequence[Any] | Tensor, answers: Sequence[Any]) -> None:
        """Add the answers for some images.

        Args:
            targets: of each image its target, of which ``image_id`` says which image it is. (Deprecated: the ids.)
            answers: of each image, in its pixels, as the model gives them.

        Raises:
            InputError: an image is not in the annotations, or an answer cannot be evaluated.
        """
        if len(targets) != len(answers):
            raise InputError(
                f"update() got {len(targets)} image ids for the {self.answers_called} of {len(answers)} images"
            )
        for target, answer in zip(_with_ids(targets), answers, strict=True):
            image_id = plain_id(target.image_id)
            self.check_image(image_id, self.answers_called)
            self.kept[image_id] = self.keep(target, answer)

    def state(self) -> dict[Any, Any]:
        """What is kept so far, by image id, to be sent to another process."""
        return dict(self.kept)

    def merge(self, states: Iterable[dict[Any, Any]]) -> None:
        """Add the `state` of other evaluators of the same annotations, each image counted once."""
        for state in states:
            for image_id, kept in state.items():
                self.check_image(image_id, "merged state")
                self.kept[image_id] = kept

    def compute(self) -> dict[str, float]:
        """The numbers by name, `headline` among them; `evaluation` then holds the whole outcome."""
        evaluation = self.evaluate()
        if not hasattr(evaluation, "metrics"):
            raise InputError(
                f"{type(self).__name__}.evaluate gives a {type(evaluation).__name__}: it must give a "
                "detkit.evaluation.Evaluation, or another object with metrics and per_class()"
            )
        self.evaluation = evaluation
        return dict(evaluation.metrics)

    def log_name(self, number: str) -> str:
        """How a number is called in the logs of validations."""
        return f"val/{self.name}/{number}"

    def report(self, evaluation: Any, options: ReportOptions) -> Report:
        """Tables and numbers of an outcome of `evaluate`; writes the files that `options` names."""
        numbers: dict[str, Any] = dict(evaluation.metrics)
        tables: list[RenderableType] = [plain_table(self.name, {"": evaluation.metrics})]
        if options.per_class:
            numbers["per_class"] = evaluation.per_class()
            tables += [plain_table(f"{self.name} by class", numbers["per_class"])] if numbers["per_class"] else []
        return Report(tables, numbers)

    def results(self) -> list[dict[str, Any]]:
        """What is kept, in COCO's results format.

        Raises:
            InputError: the evaluator has nothing of that kind.
        """
        raise InputError(f"{type(self).__name__} has no results in COCO's format: leave out --save_detections.")

    def read(self, detections: str | Path | list[dict]) -> None:
        """Take the answers for all images from a file in COCO's results format, or from its content.

        Raises:
            InputError: the file cannot be read, or the evaluator reads no such files.
        """
        raise InputError(f"{type(self).__name__} evaluates a model: give --checkpoint in place of --detections.")


def plain_table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """A table of numbers, a row for each of `rows` and a column for each of its numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    columns = list(dict.fromkeys(name for row in rows.values() for name in row))
    for column in columns:
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(f"{row[column]:.4g}" if column in row else "" for column in columns))
    return table


def _with_ids(targets: Sequence[Any] | Tensor) -> list[Any]:
    """The targets, or of mere ids targets that hold nothing else."""
    targets = list(targets)
    if all(hasattr(target, "image_id") for target in targets):
        return targets
    warnings.warn(
        "update(image_ids, answers) is deprecated: give the targets of the images, update(targets, answers)",
        DeprecationWarning,
        stacklevel=3,
    )
    return [Target.empty(image_id=plain_id(image_id)) for image_id in targets]
