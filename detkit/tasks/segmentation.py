"""Whole-image segmentation: a class for each pixel."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from detkit.structures import Category, SemanticMap, Target
from detkit.tasks.task import Task

if TYPE_CHECKING:
    from detkit.models import VisionModel


class Segmentation(Task):
    """The class of each pixel of an image."""

    name = "segmentation"
    answer = SemanticMap
    parts = frozenset({"label_map"})
    evaluators = ()
    results_file = "label_maps.json"

    def results(self, answer: SemanticMap, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The number of pixels of each class that occurs, most frequent first."""
        return [
            {"category_id": categories[label].id, "category": categories[label].name, "pixels": count}
            for label, count in answer.pixels().items()
        ]

    def truth(self, target: Target) -> SemanticMap | None:
        """The label map of the target; None where it is not annotated."""
        return None if target.label_map is None else SemanticMap(target.label_map)

    def export(self, model: VisionModel) -> dict[str, str]:
        """The label map."""
        return {"label_map": "(B, H, W) index into detkit.classes of each pixel of the input"}
