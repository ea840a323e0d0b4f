"""Image classification."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detkit.evaluation import ClassificationEvaluator
from detkit.report import Evaluated, Section
from detkit.report.sections.class_sections import image_class_sections
from detkit.structures import Category
from detkit.structures import Classification as Classes
from detkit.tasks.task import NamedEvaluator, Task


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

    def report(self, evaluated: Evaluated) -> list[Section]:
        """Metrics and confusions of the classes, and the images with the wrong answers that score highest."""
        return image_class_sections(evaluated)

    def refusal(self, option: str, model: str) -> str:
        """Explain that a classification has no boxes."""
        return f"{option} is for detectors: leave it out, the {model} answers for whole images."
