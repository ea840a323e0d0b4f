"""The evaluator of COCO's metrics: it takes detections image by image, while a model runs.

The definition is that of https://cocodataset.org/#detection-eval: AP here is what COCO calls AP, the mean over ten IoU
thresholds, 101 recalls and all classes that have objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from detkit.evaluation.coco.bootstrap import bootstrap
from detkit.evaluation.coco.coco_evaluation import Backend, CocoEvaluation, check_choices, evaluate
from detkit.evaluation.coco.protocol import protocol_of
from detkit.evaluation.coco.tide import analyze_errors
from detkit.evaluation.coco.weighted_coco import WeightedCoco
from detkit.evaluation.confusion.detection_confusion import confuse_detections
from detkit.evaluation.detection_collector import DetectionCollector
from detkit.evaluation.evaluator import Report, ReportOptions
from detkit.evaluation.ground_truth import IouType
from detkit.evaluation.nothing_to_measure import check_has_objects
from detkit.evaluation.tables.confusion_report import confusion_table, write_confusion
from detkit.evaluation.tables.detection_report import (
    coco_table,
    error_table,
    interval_table,
    metrics_entry,
    per_class_table,
    plot_precision_recall,
)
from detkit.structures import Category

_READS = {"bbox": "boxes", "segm": "masks", "keypoints": "keypoints"}


class CocoEvaluator(DetectionCollector):
    """Collects the detections of images and evaluates them as COCO does.

    Every image of the annotations counts; one that is never updated is an image without detections. An image that is
    updated twice keeps the later detections. The 100 highest-scoring per image and class are kept (keypoints: 20);
    COCO evaluates no more.

    Args:
        annotations: path of a COCO annotation file, or the dict that it holds; read once and never changed. Missing
            ``area``, ``iscrowd`` and ``info`` are filled in (see `read_ground_truth`).
        iou_type: compare boxes, masks or keypoints.
        backend: who computes the numbers: detkit's native kernels, or pycocotools, the reference.
        categories: ``categories[k]`` is the category of label ``k``; they are matched to those of the annotations by
            name, so that ids may differ; detections of labels that are called "N/A" are dropped. Default: the
            annotations' own, sorted by id.
        image_ids: evaluate on these images alone; all of the annotations by default.
        keypoint_sigmas: the spread of each of the J keypoints in COCO's keypoint similarity; default: COCO's 17 of a
            person.

    Raises:
        InputError: the annotations cannot be evaluated against, or a category is not among theirs.
    """

    headline = "AP"
    scale = 100.0
    evaluation: CocoEvaluation | None

    def __init__(
        self,
        annotations: str | Path | dict,
        iou_type: IouType = "bbox",
        backend: Backend = "native",
        categories: Sequence[Category] | None = None,
        image_ids: Iterable[Any] | None = None,
        keypoint_sigmas: Sequence[float] | None = None,
    ) -> None:
        check_choices(iou_type, backend)
        self.name, self.reads = iou_type, _READS[iou_type]
        self.extras = frozenset({"bootstrap", "curves", "save_detections", "errors", "confusion"})
        if iou_type == "keypoints":
            self.extras -= {"errors", "confusion"}  # which are defined of boxes and masks
        self.backend = backend
        limit = max(protocol_of(iou_type).max_detections)
        super().__init__(annotations, iou_type, categories, image_ids, keypoint_sigmas, limit)

    def compute(self) -> dict[str, float]:
        """COCO's numbers in 0..1 by name, ``AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl`` or, for keypoints,
        ``AP AP50 AP75 APm APl AR AR50 AR75 ARm ARl``; -1 where the ground truth has no object to measure with."""
        return super().compute()

    def evaluate(self) -> CocoEvaluation:
        """As `compute`, with the curves and the numbers of each class."""
        truth, detections = self.ground_truth, self.detections()
        evaluation = evaluate(truth, detections, self.iou_type, self.keypoint_sigmas, self.backend)
        self.say_nothing(evaluation.why_nothing())
        return evaluation

    def image_weighting(self) -> WeightedCoco:
        """COCO's numbers of weighted images.

        Raises:
            InputError: there is nothing to measure, or the native kernels were not built.
        """
        check_has_objects(self.ground_truth)
        return WeightedCoco(
            self.ground_truth, self.detections(), self.iou_type, protocol_of(self.iou_type), self.keypoint_sigmas
        )

    def log_name(self, number: str) -> str:
        """``val/AP`` … of boxes, ``val/segm/AP`` … of others."""
        return f"val/{number}" if self.iou_type == "bbox" else super().log_name(number)

    def report(self, evaluation: CocoEvaluation, options: ReportOptions) -> Report:
        """COCO's table, that of the classes, confidence intervals, errors and confusion; curves go to a file."""
        tables: list[RenderableType] = [f"COCO {self.iou_type}", coco_table(evaluation.metrics, self.iou_type)]
        intervals = errors = None
        if options.per_class:
            tables.append(per_class_table(evaluation))
        if options.bootstrap:
            intervals = bootstrap(evaluation, options.bootstrap)
            tables.append(interval_table(evaluation, intervals))
        if options.errors and "errors" in self.extras:
            errors = analyze_errors(evaluation)
            tables.append(error_table(evaluation, errors))
        if options.confusion and "confusion" in self.extras:
            confusion = confuse_detections(evaluation)
            tables.append(confusion_table(confusion))
            write_confusion(confusion, options.confusion)
        if options.curves:
            plot_precision_recall(evaluation, options.curves)
        return Report(tables, metrics_entry(evaluation, options.per_class, intervals, errors))
