"""The sections of a detector: those of each of its evaluators, and the worst images."""

from __future__ import annotations

import numpy as np

from detkit.evaluation import CocoEvaluation, CocoEvaluator, Evaluator, VocEvaluation
from detkit.evaluation.coco.coco_evaluation import evaluate
from detkit.evaluation.detection_collector import DetectionCollector
from detkit.ops import backend
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.data_table import Cell, Row, data_table
from detkit.reporting.parts.line_chart import Series, line_chart
from detkit.reporting.section import Section
from detkit.reporting.sections.coco_sections import coco_sections
from detkit.reporting.sections.detection_images import detection_images
from detkit.reporting.sections.plain_sections import anchor, evaluator_section


def detection_sections(evaluated: Evaluated) -> list[Section]:
    """The sections of each evaluator, and one of the images with the most errors."""
    has_kernels = backend() != "reference"
    sections: list[Section] = []
    for name, evaluator in evaluated.evaluators.items():
        result = evaluator.evaluation
        if isinstance(result, CocoEvaluation):
            sections += coco_sections(name, result, evaluated, has_kernels)
        elif isinstance(result, VocEvaluation):
            sections.append(_voc(name, result, evaluated))
        else:
            sections += evaluator_section(name, evaluator, evaluated)
    compared = _of_boxes(list(evaluated.evaluators.values()))
    if compared is not None and has_kernels and evaluated.options.images:
        sections.append(detection_images(compared, evaluated))
    return sections


def _of_boxes(evaluators: list[Evaluator]) -> CocoEvaluation | None:
    """COCO's evaluation of the first evaluator that compares boxes or masks, in which errors have kinds."""
    collectors = [one for one in evaluators if isinstance(one, DetectionCollector) and one.iou_type != "keypoints"]
    for collector in collectors:
        if isinstance(collector, CocoEvaluator) and collector.evaluation is not None:
            return collector.evaluation
    if not collectors:
        return None
    return evaluate(collectors[0].ground_truth, collectors[0].detections(), collectors[0].iou_type)


def _voc(name: str, evaluation: VocEvaluation, evaluated: Evaluated) -> Section:
    """PASCAL VOC's AP of each class, and its curves."""
    rows: list[Row] = [
        [
            of,
            Cell.percent(row["AP"], bar=True),
            *(Cell.number(int(row[key])) for key in ("objects", "difficult", "images")),
        ]
        for of, row in evaluation.per_class().items()
    ]
    curves = [
        Series(category.name, np.append(0.0, recall), np.append(1.0, precision))
        for category, recall, precision in zip(
            evaluation.categories, evaluation.recall, evaluation.precision, strict=True
        )
    ]
    parts = [
        data_table("PASCAL VOC's AP of each class", ["class", "AP %", "objects", "difficult", "images"], rows),
        line_chart("Precision and recall at IoU 0.50", curves, "recall", "precision", (0.0, 1.0), (0.0, 1.0)),
    ]
    summary = f"mAP of {evaluation.protocol} is {Cell.percent(evaluation.metrics['mAP']).text} %."
    return Section(anchor(name, "metrics"), evaluated.title("Metrics", name), parts, summary)
