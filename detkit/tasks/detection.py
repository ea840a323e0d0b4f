"""Detection: boxes with classes, perhaps with masks or keypoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from detkit.data.faults.suspicious_boxes import suspicious_boxes
from detkit.data.faults.suspicious_labels import suspicious_labels
from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator, Evaluator, VocEvaluator
from detkit.evaluation.meshes.given_meshes import in_units_of_depth
from detkit.preprocess import Batch
from detkit.reporting import Evaluated, Section
from detkit.reporting.sections.detection_sections import detection_sections
from detkit.results import coco_results
from detkit.structures import Category, Detections, Target
from detkit.tasks.differences.detection_differences import DetectionDifferences
from detkit.tasks.differences.output_agreement import Tolerance, unequal_detections
from detkit.tasks.exported_answers import exported_detections
from detkit.tasks.recovered_objects import Recovered, recovered_objects
from detkit.tasks.task import NamedEvaluator, Task

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.data.image_dataset import ImageDataset
    from detkit.models import VisionModel


class Detection(Task):
    """Object detection: boxes, and masks or keypoints, of all objects of an image."""

    name = "detection"
    answer = Detections
    parts = frozenset({"boxes", "labels", "masks", "keypoints", "meshes", "voxels"})
    evaluators: tuple[type[Evaluator], ...] = (CocoEvaluator,)
    named = {  # noqa: RUF012 (of the class, and never changed)
        "bbox": NamedEvaluator(CocoEvaluator, "boxes", {"iou_type": "bbox"}),
        "segm": NamedEvaluator(CocoEvaluator, "masks", {"iou_type": "segm"}),
        "keypoints": NamedEvaluator(CocoEvaluator, "keypoints", {"iou_type": "keypoints"}),
        "voc2007": NamedEvaluator(VocEvaluator, "boxes", {"protocol": "voc2007"}),
        "voc2010": NamedEvaluator(VocEvaluator, "boxes", {"protocol": "voc2010"}),
    }
    results_file = "detections.json"
    least_score = 0.5
    answers_objects = True

    def results(self, answer: Detections, categories: Sequence[Category]) -> list[dict[str, Any]]:
        """The detections in COCO's results format, with the name of each class."""
        named = [categories[label] for label in answer.labels.tolist()]
        entries = zip(coco_results(answer, named), named, strict=True)
        return [
            {"category_id": entry.pop("category_id"), "category": category.name, **entry} for entry, category in entries
        ]

    def check_data(self, model: VisionModel, data: DataModule) -> None:
        """Refuse folders of classes and of label maps, which have no boxes, as well."""
        super().check_data(model, data)
        learns_images = "image_label" in model.learns_from
        if data.train_dataset.has_image_labels and not learns_images and data.image_class is None:
            raise InputError(
                f"{data.train_dataset.annotations_path} has a class for each image and no boxes, but the model learns "
                "boxes: train a Classifier, or give data with boxes."
            )
        packed = data.train_dataset.packed_annotations
        if packed is not None and "label_map" in packed.columns and not len(packed.boxes):
            raise InputError(
                f"{data.train_dataset.annotations_path} has label maps and no boxes, but the {type(model).__name__} "
                "learns boxes: train a segmentation model, see docs/segmentation.md, or give data with boxes."
            )

    def export(self, model: VisionModel) -> dict[str, str]:
        """Boxes, best first, and what is known of each."""
        return {
            "boxes": "(B, D, 4) x1 y1 x2 y2 in pixels of the input, best first; 0 where there is none",
            "scores": "(B, D) in [0, 1]",
            "labels": "(B, D) index into detkit.classes; -1 where there is none",
            "count": "(B,) detections of each image",
            "masks": "(B, D, M, M) probability of the object within its box",
            "keypoints": "(B, D, K, 3) x y of each keypoint in pixels of the input, and its logit",
            "voxels": "(B, D, Z, Y, X) probability of each cell in the frustum of the box, near cells first",
            "depths": "(B, D) extent along z times focal length in pixels of the input, over the distance",
        }

    def report(self, evaluated: Evaluated) -> list[Section]:
        """Metrics, errors and confusions of each evaluator, and the images with the most errors."""
        return detection_sections(evaluated)

    def doctor(self, dataset: ImageDataset) -> list[str]:
        """Boxes in another format than they are read in, and classes that look wrong."""
        return [*suspicious_boxes(dataset), *suspicious_labels(dataset)]

    def truth(self, target: Target) -> Detections | None:
        """A detection for each object, crowds left out; None where boxes are not annotated."""
        objects = target.objects()
        if objects.boxes is None or objects.labels is None:
            return None
        ones = torch.ones(len(objects.boxes))
        meshes = None if objects.meshes is None else in_units_of_depth(objects.meshes)
        return Detections(objects.boxes, ones, objects.labels, objects.masks, objects.keypoints, meshes=meshes)

    def recovered(self, target: Target, answer: Detections) -> Recovered:
        """The IoU of each object with a detection of its class, each detection counted once."""
        return recovered_objects(self.truth(target) or Detections.empty(), answer)

    def outputs_differ(
        self, given: Mapping[str, Tensor], own: Mapping[str, Tensor], tolerance: Tolerance
    ) -> str | None:
        """Detections are compared in pairs, since those of equal scores have no order."""
        return unequal_detections(given, own, tolerance)

    def exported_answers(self, model: VisionModel, outputs: Mapping[str, Tensor], batch: Batch) -> list[Detections]:
        """Boxes moved back and clipped where the model does so, masks pasted."""
        return exported_detections(outputs, batch, model.clips_boxes)

    def differences(self, categories: Sequence[Category], tolerance: float = 1.0) -> DetectionDifferences:
        """Of detections in pairs, and of those without a partner."""
        return DetectionDifferences(categories, tolerance)

    def refusal(self, option: str, model: str) -> str:
        """Explain which options are for COCO's evaluation."""
        return f"{option} is for COCO's evaluation: leave it out, or list a CocoEvaluator under evaluators."
