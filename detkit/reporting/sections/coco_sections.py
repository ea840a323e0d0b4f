"""The sections of COCO's numbers: metrics, classes, sizes, errors, curves, confusions."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from markupsafe import Markup

from detkit.evaluation import AssignedErrors, CocoEvaluation, ErrorAnalysis, confuse_detections
from detkit.evaluation.coco.bootstrap import Interval, bootstrap
from detkit.evaluation.coco.native_backend import count_objects
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.confusion_part import confusion_part, confusion_summary
from detkit.reporting.parts.data_table import Bar, Cell, Row, data_table
from detkit.reporting.parts.line_chart import Series, line_chart
from detkit.reporting.parts.rendering import paragraph
from detkit.reporting.section import Section
from detkit.reporting.sections.plain_sections import anchor

Content = tuple[list[Markup], str]
"""The parts of a section, and a sentence for the top of the page."""

_CURVES_SHOWN = 8
_MOST_CURVES = 80
_SIZES = {"small": "below 32² pixels", "medium": "32² to 96² pixels", "large": "above 96² pixels"}


def coco_sections(
    name: str, evaluation: CocoEvaluation, evaluated: Evaluated, has_kernels: bool, errors: AssignedErrors | None
) -> list[Section]:
    """The sections of an evaluation of boxes, masks or keypoints.

    Args:
        name: of the evaluator.
        evaluation: its result.
        evaluated: what the page shows.
        has_kernels: whether the native kernels are built, which intervals and confusions need.
        errors: the cause of each; None where they have none.
    """
    options = evaluated.options
    intervals: Mapping[str, Interval] = {}
    if options.bootstrap and has_kernels:
        intervals = bootstrap(evaluation, options.bootstrap)
    sections = {"Metrics": _metrics(evaluation, intervals), "Classes": _classes(evaluation)}
    sections["Sizes"] = _sizes(evaluation, intervals)
    if errors is not None:
        sections["Errors"] = _errors(errors.result())
    sections["Precision and recall"] = _curves(evaluation)
    if errors is not None:
        matrix = confuse_detections(evaluation, options.score_threshold)
        sections["Confusion"] = [confusion_part(matrix)], confusion_summary(matrix)
    return [
        Section(anchor(name, what), evaluated.title(what, name), parts, _told_apart(summary, name, evaluated))
        for what, (parts, summary) in sections.items()
    ]


def _told_apart(summary: str, name: str, evaluated: Evaluated) -> str:
    """The sentence, which says of which evaluator it is where there are several."""
    if len(evaluated.evaluators) == 1 or not summary or f" of {name} " in summary:
        return summary
    return f"{name}: {summary[0].lower()}{summary[1:]}"


def _metrics(evaluation: CocoEvaluation, intervals: Mapping[str, Interval]) -> Content:
    """COCO's numbers with their intervals."""
    rows: list[Row] = []
    for metric, value in evaluation.metrics.items():
        number = evaluation.protocol.numbers[metric]
        iou = "0.50 to 0.95" if number.iou_threshold is None else f"{number.iou_threshold:.2f}"
        what = "precision" if number.is_precision else "recall"
        row: Row = [metric, what, iou, number.area, Cell.number(number.max_detections)]
        rows.append([*row, _with_interval(value, intervals.get(metric)), Cell(_words(intervals.get(metric)))])
    columns = ["metric", "average", "IoU", "objects", "detections", "%", "95 % interval"]
    parts = [data_table(f"COCO's metrics of {evaluation.iou_type}", columns, rows, sortable=False)]
    images, objects = len(evaluation.ground_truth.image_ids), int(evaluation.objects.sum())
    parts.insert(0, paragraph(f"{images} images, {objects} objects, {len(evaluation.categories)} classes."))
    if intervals:
        parts.append(paragraph("The intervals show how the numbers vary with the choice of images (bootstrap)."))
    parts += [paragraph(why)] if (why := evaluation.why_nothing()) else []
    value = evaluation.metrics["AP"]
    interval = f" (95 % interval {_words(intervals['AP'])})" if "AP" in intervals and value >= 0 else ""
    summary = (
        f"AP of {evaluation.iou_type} is {_percent(value)} %{interval}, AP50 {_percent(evaluation.metrics['AP50'])} %."
    )
    return parts, summary


def _with_interval(value: float, interval: Interval | None) -> Cell:
    cell = Cell.percent(value, bar=True)
    if interval is None or value == NOTHING_TO_MEASURE:
        return cell
    return Cell(cell.text, cell.order, Bar(interval.low, interval.high, value))


def _words(interval: Interval | None) -> str:
    if interval is None or interval.low == NOTHING_TO_MEASURE:
        return "–"
    return f"{_percent(interval.low)} to {_percent(interval.high)}"


def _percent(value: float) -> str:
    return Cell.percent(value).text


def _classes(evaluation: CocoEvaluation) -> Content:
    rows: list[Row] = [
        [of, *(Cell.percent(row[metric], metric == "AP") for metric in evaluation.class_metrics),
         Cell.number(int(row["objects"])), Cell.number(int(row["images"]))]
        for of, row in evaluation.per_class().items()
    ]  # fmt: skip
    columns = ["class", *(f"{metric} %" for metric in evaluation.class_metrics), "objects", "images"]
    return [data_table("Metrics of each class", columns, rows)], ""


def _sizes(evaluation: CocoEvaluation, intervals: Mapping[str, Interval]) -> Content:
    """AP and AR of small, medium and large objects, and how many there are."""
    counts = count_objects(evaluation.ground_truth, evaluation.protocol).sum(axis=1)
    rows: list[Row] = []
    for area, objects in zip(evaluation.protocol.areas, counts.tolist(), strict=True):
        if area not in _SIZES:
            continue
        precision, recall = f"AP{area[0]}", f"AR{area[0]}"
        row: Row = [area, _SIZES[area], Cell.number(int(objects))]
        row.append(_with_interval(evaluation.metrics[precision], intervals.get(precision)))
        rows.append([*row, Cell(_words(intervals.get(precision))), Cell.percent(evaluation.metrics[recall])])
    columns = ["size", "area", "objects", "AP %", "95 % interval", "AR %"]
    return [data_table("Objects by size", columns, rows, sortable=False)], ""


def _errors(errors: ErrorAnalysis) -> Content:
    """What each kind of error costs (TIDE)."""
    highest = max([*errors.cost.values(), 1e-9])
    rows: list[Row] = [
        [kind.replace("_", " "), Cell(f"{100 * cost:.2f}", cost, Bar(0.0, max(cost, 0.0) / highest)),
         Cell.number(errors.count[kind])]
        for kind, cost in errors.cost.items()
    ]  # fmt: skip
    kinds = {kind: cost for kind, cost in errors.cost.items() if not kind.startswith("false_")}
    worst = max(kinds, key=lambda kind: kinds[kind])
    cause = "missed objects" if worst == "missed" else f"{worst} errors"
    summary = f"Most AP50 is lost to {cause}: {100 * kinds[worst]:.1f} points." if kinds[worst] > 0 else ""
    parts = [
        paragraph(
            f"AP at IoU 0.5 is {_percent(errors.ap)} %. The cost of a kind is how many points AP would gain if only "
            "the errors of that kind were fixed (TIDE, Bolya et al. 2020)."
        ),
        data_table("Errors by kind", ["error", "costs AP50", "errors"], rows),
    ]
    return parts, summary


def _curves(evaluation: CocoEvaluation) -> Content:
    """Precision over recall of each class and their mean."""
    protocol, recalls = evaluation.protocol, evaluation.protocol.recall_thresholds
    parts = []
    for threshold in (0.5, 0.75):
        curves = evaluation.curves.precision[np.isclose(protocol.iou_thresholds, threshold)][0][..., 0, -1]
        measured = [k for k in range(len(evaluation.categories)) if curves[0, k] != NOTHING_TO_MEASURE]
        if not measured:
            continue
        shown = len(measured) <= _CURVES_SHOWN
        drawn = sorted(sorted(measured, key=lambda k: -evaluation.objects[k])[:_MOST_CURVES])
        series = [Series(f"mean of {len(measured)} classes", recalls, curves[:, measured].mean(axis=1), True, True)]
        series += [Series(evaluation.categories[k].name, recalls, curves[:, k], shown) for k in drawn]
        title = f"Precision and recall at {'OKS' if evaluation.iou_type == 'keypoints' else 'IoU'} {threshold:.2f}"
        parts.append(line_chart(title, series, "recall", "precision", (0.0, 1.0), (0.0, 1.0)))
    if len(evaluation.categories) > _MOST_CURVES:
        parts.append(paragraph(f"Of the classes, those {_MOST_CURVES} with the most objects have curves."))
    return parts or [paragraph("There are no objects to measure with.")], ""
