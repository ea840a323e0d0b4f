"""The sections of a detector: those of each of its evaluators, and the worst images."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from detkit.evaluation import AssignedErrors, CocoEvaluation, CocoEvaluator, Evaluator, VocEvaluation, assign_errors
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
    errors = _errors(evaluated.evaluators) if has_kernels else {}
    sections: list[Section] = []
    for name, evaluator in evaluated.evaluators.items():
        result = evaluator.evaluation
        if isinstance(result, CocoEvaluation):
            _, assigned = errors.get(name, (None, None))
            sections += coco_sections(name, result, evaluated, has_kernels, assigned)
        elif isinstance(result, VocEvaluation):
            sections.append(_voc(name, result, evaluated))
        else:
            sections += evaluator_section(name, evaluator, evaluated)
    if evaluated.options.images and (compared := _of_images(evaluated, errors, has_kernels)):
        sections.append(detection_images(*compared, evaluated))
    return sections


Errors = tuple[CocoEvaluation, AssignedErrors]
"""An evaluation of boxes or masks, and the kind of each of its errors."""


def _errors(evaluators: Mapping[str, Evaluator]) -> dict[str, Errors]:
    """Those of each of COCO's evaluators in which errors have kinds, assigned once for all sections."""
    results = {name: one.evaluation for name, one in evaluators.items() if isinstance(one, CocoEvaluator)}
    return {
        name: (result, assign_errors(result))
        for name, result in results.items()
        if result is not None and result.iou_type != "keypoints"
    }


def _of_images(evaluated: Evaluated, errors: Mapping[str, Errors], has_kernels: bool) -> Errors | None:
    """Those that the images show: of the first of COCO's evaluators, else COCO's evaluation of another's detections."""
    for one in errors.values():
        return one
    collectors = [one for one in evaluated.evaluators.values() if isinstance(one, DetectionCollector)]
    collectors = [one for one in collectors if one.iou_type != "keypoints"]
    if not collectors or not has_kernels:
        return None
    first = collectors[0]
    evaluation = evaluate(first.ground_truth, first.detections(), first.iou_type)
    return evaluation, assign_errors(evaluation)


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
