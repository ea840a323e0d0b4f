"""Image classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detkit.evaluation import ClassificationEvaluator
from detkit.structures import Category
from detkit.structures import Classification as Classes
from detkit.tasks.task import NamedEvaluator, Task

if TYPE_CHECKING:
    from detkit.models import VisionModel


class Classification(Task):
    """The most likely classes of an image."""

    name = "classification"
    answer = Classes
    parts = frozenset({"labels"})
    evaluators = (ClassificationEvaluator,)
    named = {"classification": NamedEvaluator(ClassificationEvaluator, "labels")}  # noqa: RUF012
    results_file = "classes.json"

    def results(self, answer: Classes, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The classes, best first, in a format like COCO's results without boxes."""
        return [
            {"category_id": categories[label].id, "category": categories[label].name, "score": score}
            for score, label in zip(answer.scores.tolist(), answer.labels.tolist(), strict=True)
        ]

    def export(self, model: VisionModel) -> dict[str, str]:
        """The probabilities of all classes."""
        return {"probabilities": "(B, K) of each class of detkit.classes, their sum is 1"}

    def refusal(self, option: str, model: str) -> str:
        """Explain that a classification has no boxes."""
        return f"{option} is for detectors: leave it out, the {model} answers for whole images."
