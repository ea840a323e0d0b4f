"""What a task is: the kind of answer that models give, and all that depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detkit.evaluation import Evaluator
from detkit.structures import Category
from detkit.visualization import Drawing


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
        results_file: what ``predict`` calls the file of its results.
        least_score: answers that score less are not shown by ``predict``, unless the command line says otherwise.
    """

    name: str
    answer: type
    parts: frozenset[str]
    evaluators: tuple[type[Evaluator], ...]
    results_file: str = "results.json"
    least_score: float = 0.0

    @property
    def headline(self) -> str:
        """The name of the number that matters most: the headline of the first evaluator."""
        return self.evaluators[0].headline

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
