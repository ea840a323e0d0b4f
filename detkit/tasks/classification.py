"""Image classification."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from detkit.data.faults.suspicious_labels import suspicious_labels
from detkit.evaluation import ClassificationEvaluator
from detkit.preprocess import Batch
from detkit.reporting import Evaluated, Section
from detkit.reporting.sections.class_sections import image_class_sections
from detkit.structures import Category, Target
from detkit.structures import Classification as Classes
from detkit.tasks.differences.class_differences import ClassDifferences
from detkit.tasks.exported_answers import exported_classes
from detkit.tasks.recovered_objects import Recovered
from detkit.tasks.task import NamedEvaluator, Task

if TYPE_CHECKING:
    from detkit.data.image_dataset import ImageDataset
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

    def report(self, evaluated: Evaluated) -> list[Section]:
        """Metrics and confusions of the classes, and the images with the wrong answers that score highest."""
        return image_class_sections(evaluated)

    def doctor(self, dataset: ImageDataset) -> list[str]:
        """Classes that look wrong."""
        return suspicious_labels(dataset)

    def truth(self, target: Target) -> Classes | None:
        """The class of the image; None where it is not annotated."""
        if target.image_label is None:
            return None
        return Classes(torch.ones(1), torch.tensor([target.image_label]))

    def recovered(self, target: Target, answer: Classes) -> Recovered:
        """1 where the best class is that of the image, else 0."""
        best = answer.labels[:1].tolist()
        if target.image_label is None:
            return Recovered(torch.zeros(0), torch.zeros(0, dtype=torch.int64))
        found = best == [target.image_label]
        labels = torch.tensor([target.image_label])
        return Recovered(torch.tensor([float(found)]), torch.tensor([0 if found else -1]), labels)

    def exported_answers(self, model: VisionModel, outputs: Mapping[str, Tensor], batch: Batch) -> list[Classes]:
        """All classes, best first."""
        return exported_classes(outputs)

    def differences(self, categories: Sequence[Category], tolerance: float = 1.0) -> ClassDifferences:
        """Of probabilities, and of best classes."""
        return ClassDifferences(categories, tolerance)

    def refusal(self, option: str, model: str) -> str:
        """Explain that a classification has no boxes."""
        return f"{option} is for detectors: leave it out, the {model} answers for whole images."
