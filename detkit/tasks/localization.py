"""Single-object localization: the class of an image, and where the object is (Russakovsky 2015, section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from detkit.evaluation import LocalizationEvaluator
from detkit.tasks.detection import Detection
from detkit.tasks.task import NamedEvaluator

if TYPE_CHECKING:
    from detkit.models import VisionModel


class Localization(Detection):
    """The most likely classes of an image, each with one box."""

    name = "localization"
    parts = frozenset({"boxes", "labels"})
    evaluators = (LocalizationEvaluator,)
    named = {"localization": NamedEvaluator(LocalizationEvaluator, "boxes")}  # noqa: RUF012

    def export(self, model: VisionModel) -> dict[str, str]:
        """One box for each of the most likely classes."""
        boxes = "(B, D, 4) x1 y1 x2 y2 in pixels of the input, one of each of the most likely classes, best first"
        return super().export(model) | {"boxes": boxes}

    def refusal(self, option: str, model: str) -> str:
        """Explain that the image is evaluated as a whole."""
        return f"{option} is for detectors: leave it out, the {model} answers for whole images."
