"""What a task is: the kind of answer that models give, and all that depends on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.structures import Category
from detkit.visualization import Drawing

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.models import VisionModel


@dataclass(frozen=True)
class NamedEvaluator:
    """An evaluator of detkit's for which a short name stands in options of ``eval`` and in old configs.

    Args:
        kind: its class.
        reads: the part of an answer that it looks at, as `Evaluator.reads`.
        arguments: of its constructor.
    """

    kind: type[Evaluator]
    reads: str
    arguments: Mapping[str, Any] = field(default_factory=dict)

    @property
    def entry(self) -> dict[str, Any]:
        """As a config names it."""
        named = {"class_path": f"detkit.evaluation.{self.kind.__name__}"}
        return named | ({"init_args": dict(self.arguments)} if self.arguments else {})


class Task(Drawing):
    """What the commands must know of a kind of answer. They ask the model's task, and never which one it is.

    A subclass sets the attributes and overrides what differs; a model names it, ``task = "my_package.MyTask"``, or
    holds an object of it. How answers are drawn is inherited from `detkit.visualization.Drawing`.

    Attributes:
        name: of the task, in messages.
        answer: the type of a model's answer for one image; it has ``to(device)``.
        parts: what evaluators can read of an answer: names as of `Evaluator.reads`.
        evaluators: the classes of evaluators that judge a model where the config names none; the first one's headline
            decides which epoch is the best.
        named: the evaluators of these answers that have a short name.
        results_file: what ``predict`` calls the file of its results.
        least_score: answers that score less are not shown by ``predict``, unless the command line says otherwise.
    """

    name: str
    answer: type
    parts: frozenset[str]
    evaluators: tuple[type[Evaluator], ...]
    named: ClassVar[Mapping[str, NamedEvaluator]] = {}
    results_file: str = "results.json"
    least_score: float = 0.0

    def check_answers(self, model: VisionModel, answers: Sequence[Any]) -> None:
        """Refuse answers that are not of this task.

        Raises:
            InputError: it names the model and both types.
        """
        for answer in answers:
            if not isinstance(answer, self.answer):
                raise InputError(
                    f"the {type(model).__name__} answers with a {type(answer).__name__}, but its task {self.name} is "
                    f"answered with {self.answer.__name__}: let the model name another task"
                )

    def check_data(self, model: VisionModel, data: DataModule) -> None:
        """Refuse data without what the model learns from.

        Raises:
            InputError: it says what is missing and what to do.
        """
        if "image_label" in model.learns_from and not data.train_dataset.has_image_labels:
            raise InputError(
                "The model learns a class for each image, but the data has objects: set data.image_class to largest "
                "or only."
            )

    def select(self, answer: Any, least_score: float) -> Any:
        """The part of an answer that ``predict`` shows: what scores at least so much, where answers have scores."""
        scores = getattr(answer, "scores", None)
        return answer if scores is None else answer[scores >= least_score]

    def results(self, answer: Any, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The entries of an answer for one image in the file that ``predict`` writes, ready for JSON.

        The command adds ``file_name``, ``image_id`` and, of videos, ``frame`` to each.
        """
        raise NotImplementedError

    def refusal(self, option: str, model: str) -> str:
        """The sentence that says why an option of ``eval`` is not for a model of this task."""
        return f"{option} is not for the answers of the {model} ({self.name}): leave it out."

    def doctor(self, dataset: Any) -> list[str]:
        """Sentences about what in a data set makes it hard to learn this task from."""
        return []

    def report(self, evaluation: Any) -> list[Any]:
        """Sections of the report page that only this task has."""
        return []

    def export(self, model: Any) -> dict[str, Any]:
        """What an exported file of a model must tell its user about the answers, by name."""
        return {}
