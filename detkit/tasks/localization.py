"""Single-object localization: the class of an image, and where the object is (Russakovsky 2015, section 4.2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from detkit.boxes import box_area
from detkit.evaluation import LocalizationEvaluator
from detkit.evaluation.detection_collector import DetectionCollector
from detkit.reporting import Evaluated, Section
from detkit.reporting.sections.class_sections import image_class_sections
from detkit.reporting.sections.detection_sections import detection_sections
from detkit.structures import Detections, Target
from detkit.tasks.detection import Detection
from detkit.tasks.task import NamedEvaluator

if TYPE_CHECKING:
    from detkit.models import VisionModel


class Localization(Detection):
    """The most likely classes of an image, each with one box."""

    name = "localization"
    parts = frozenset({"boxes", "labels"})
    evaluators = (LocalizationEvaluator,)
    answers_objects = False
    named = {"localization": NamedEvaluator(LocalizationEvaluator, "boxes")}  # noqa: RUF012

    def export(self, model: VisionModel) -> dict[str, str]:
        """One box for each of the most likely classes."""
        boxes = "(B, D, 4) x1 y1 x2 y2 in pixels of the input, one of each of the most likely classes, best first"
        return super().export(model) | {"boxes": boxes}

    def report(self, evaluated: Evaluated) -> list[Section]:
        """As of classification, with the boxes; evaluators of detections get their own sections."""
        return [*image_class_sections(evaluated), *detection_sections(evaluated.only(DetectionCollector))]

    def truth(self, target: Target) -> Detections | None:
        """The largest object of the image's class; None where there is none."""
        objects = super().truth(target)
        if objects is None or target.image_label is None:
            return None
        own = torch.where(objects.labels == target.image_label)[0]
        return objects[own[box_area(objects.boxes[own]).argmax()][None]] if len(own) else None

    def refusal(self, option: str, model: str) -> str:
        """Explain that the image is evaluated as a whole."""
        return f"{option} is for detectors: leave it out, the {model} answers for whole images."
