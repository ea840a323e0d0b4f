"""The report of detections: COCO's table, tables of classes, ``metrics.json``, precision-recall curves."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from rich.table import Table

from detkit.evaluation.coco.bootstrap import Interval
from detkit.evaluation.coco.coco_evaluation import METRICS, CocoEvaluation
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE
from detkit.evaluation.coco.tide import ErrorAnalysis
from detkit.evaluation.ground_truth import IouType
from detkit.files import json_text, write_whole

if TYPE_CHECKING:  # their evaluators import this module
    from detkit.evaluation.image_collector import ImageEvaluation
    from detkit.evaluation.voc_evaluator import VocEvaluation

_AREAS = {"s": "small", "m": "medium", "l": "large"}
_MAX_NAMED_CURVES = 12


def coco_table(metrics: Mapping[str, float], iou_type: IouType = "bbox") -> str:
    """The metrics as COCO prints them, one line each; -1 where there is nothing to measure."""
    return "\n".join(
        f" {title:<18} {sign} @[ IoU={iou:<9} | area={area:>6s} | maxDets={limit:>3d} ] = {metrics[name]:0.3f}"
        for name in METRICS[iou_type]
        for title, sign, iou, area, limit in [_conditions(name, iou_type)]
    )


def rich_table(metrics: Mapping[str, float], iou_type: IouType = "bbox") -> Table:
    """The metrics as a table for the terminal, in percent."""
    table = Table(title=f"COCO {iou_type}", title_justify="left")
    table.add_column("")
    for column in ("IoU", "area", "detections", "%"):
        table.add_column(column, justify="right")
    for name in METRICS[iou_type]:
        _, _, iou, area, limit = _conditions(name, iou_type)
        table.add_row(name, iou, area, str(limit), percent(metrics[name]), style="bold" if name == "AP" else None)
    return table


def per_class_table(evaluation: CocoEvaluation) -> Table:
    """One row per class: AP, AP50, AP by size, AR100 (keypoints: AR) in percent, and numbers of objects and images."""
    table = Table(title=f"COCO {evaluation.iou_type} by class", title_justify="left")
    table.add_column("class")
    for column in (*evaluation.class_metrics, "objects", "images"):
        table.add_column(column, justify="right")
    for name, row in evaluation.per_class().items():
        numbers = [percent(row[metric]) for metric in evaluation.class_metrics]
        table.add_row(name, *numbers, str(row["objects"]), str(row["images"]))
    return table


def voc_table(evaluation: VocEvaluation) -> Table:
    """One row per class: VOC's AP in percent; numbers of objects, difficult ones and images; then the mean."""
    year = evaluation.protocol.removeprefix("voc")
    points = "11 points" if year == "2007" else "all points"
    table = Table(title=f"PASCAL VOC {year}, {points}", title_justify="left")
    table.add_column("class")
    for column in ("AP", "objects", "difficult", "images"):
        table.add_column(column, justify="right")
    for name, row in evaluation.per_class().items():
        table.add_row(name, percent(row["AP"]), *(str(row[key]) for key in ("objects", "difficult", "images")))
    table.add_section()
    table.add_row("mean", percent(evaluation.metrics["mAP"]), style="bold")
    return table


def interval_table(evaluation: CocoEvaluation, intervals: Mapping[str, Interval]) -> Table:
    """One row per metric: its value and its confidence interval, in percent."""
    table = Table(title=f"COCO {evaluation.iou_type} with confidence intervals", title_justify="left")
    table.add_column("")
    for column in ("%", "from", "to"):
        table.add_column(column, justify="right")
    for name, (low, high) in intervals.items():
        table.add_row(name, *map(percent, (evaluation.metrics[name], low, high)))
    return table


def error_table(evaluation: CocoEvaluation, errors: ErrorAnalysis) -> Table:
    """One row per kind of error: how much AP50 it costs, in percent, and how often it occurs."""
    title = f"COCO {evaluation.iou_type} errors at IoU 0.5, where AP is {percent(errors.ap)} %"
    table = Table(title=title, title_justify="left")
    table.add_column("error")
    for column in ("costs AP", "errors"):
        table.add_column(column, justify="right")
    for name, cost in errors.cost.items():
        table.add_row(name.replace("_", " "), f"{100 * cost:.2f}", str(errors.count[name]))
        if name == "missed":
            table.add_section()
    return table


def write_metrics(
    path: str | Path,
    evaluations: Mapping[str, CocoEvaluation | VocEvaluation | ImageEvaluation],
    per_class: bool = False,
    intervals: Mapping[str, Mapping[str, Interval]] | None = None,
    errors: Mapping[str, ErrorAnalysis] | None = None,
) -> None:
    """Write ``{"bbox": {"AP": …, …}, …}``, each number in 0..1 or -1 where there is nothing to measure.

    Args:
        path: the JSON file; it appears whole or not at all.
        evaluations: by what was compared, ``bbox``, ``segm`` or ``keypoints``, or how, ``voc2007`` or ``voc2010``, or
            by the task of image classes.
        per_class: add ``per_class``, the metrics of each class by its name.
        intervals: add ``intervals``, the bounds of each metric: ``[low, high]``.
        errors: add ``errors``: the ``ap`` at IoU 0.5, and the ``cost`` and ``count`` of each kind of error.
    """
    write_numbers(
        path,
        {
            name: metrics_entry(evaluation, per_class, (intervals or {}).get(name), (errors or {}).get(name))
            for name, evaluation in evaluations.items()
        },
    )


def metrics_entry(
    evaluation: CocoEvaluation | VocEvaluation | ImageEvaluation,
    per_class: bool = False,
    intervals: Mapping[str, Interval] | None = None,
    errors: ErrorAnalysis | None = None,
) -> dict[str, Any]:
    """The entry of one evaluation in ``metrics.json``; see `write_metrics`."""
    entry: dict[str, Any] = dict(evaluation.metrics)
    if per_class:
        entry["per_class"] = evaluation.per_class()
    if intervals:
        entry["intervals"] = intervals
    if errors:
        entry["errors"] = asdict(errors)
    return entry


def write_numbers(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write an indented JSON file, in which numbers that are not finite are null; it appears whole or not at all."""
    write_whole(Path(path), json_text(content, indent=2, ensure_ascii=False) + "\n")


def plot_precision_recall(evaluation: CocoEvaluation, path: str | Path) -> None:
    """Plot precision over recall at IoU 0.50 and 0.75 as a PNG: each class thin, their mean bold.

    With more than 12 classes only the mean is in the legend.
    """
    figure = Figure(figsize=(11, 5.5), dpi=120, layout="constrained")
    axes = figure.subplots(1, 2, sharey=True)
    for axis, threshold in zip(axes, (0.5, 0.75), strict=True):
        _draw_curves(axis, evaluation, threshold)
    axes[0].set_ylabel("precision")
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png")
    write_whole(Path(path), encoded.getvalue())


def _conditions(name: str, iou_type: IouType) -> tuple[str, str, str, str, int]:
    """What COCO prints before a metric: title, sign, IoU, area and the most detections per image."""
    sign, condition = name[:2], name[2:]
    limits_detections = sign == "AR" and iou_type != "keypoints" and condition.isdigit()
    limit = int(condition) if limits_detections else 20 if iou_type == "keypoints" else 100
    iou = f"0.{condition}" if condition.isdigit() and not limits_detections else "0.50:0.95"
    title = "Average Precision" if sign == "AP" else "Average Recall"
    return title, f"({sign})", iou, _AREAS.get(condition, "all"), limit


def percent(value: float) -> str:
    """A metric in 0..1 in percent; a dash where there is nothing to measure."""
    return "–" if value == NOTHING_TO_MEASURE else f"{100 * value:.1f}"


def _draw_curves(axis: Axes, evaluation: CocoEvaluation, threshold: float) -> None:
    """Precision over recall of each class with objects, and their mean."""
    protocol = evaluation.protocol
    curves = evaluation.curves.precision[np.isclose(protocol.iou_thresholds, threshold)][0][..., 0, -1]
    measured = [k for k in range(len(evaluation.categories)) if curves[0, k] != NOTHING_TO_MEASURE]
    named = len(measured) <= _MAX_NAMED_CURVES
    colors = colormaps["tab20" if len(measured) > 10 else "tab10"]
    for position, k in enumerate(measured):
        label = f"{evaluation.categories[k].name}: {100 * curves[:, k].mean():.1f}" if named else None
        axis.plot(
            protocol.recall_thresholds,
            curves[:, k],
            color=colors(position % colors.N),
            linewidth=1.4 if named else 0.7,
            alpha=0.9 if named else 0.4,
            label=label,
        )
    if measured:
        mean = curves[:, measured].mean(axis=1)
        label = f"mean of {len(measured)} classes: {100 * mean.mean():.1f}"
        axis.plot(protocol.recall_thresholds, mean, color="black", linewidth=2.6, label=label)
        axis.legend(loc="upper center", bbox_to_anchor=(0.5, -0.13), ncols=3, fontsize=9, frameon=False)
    else:
        axis.text(0.5, 0.5, "no objects to measure", ha="center", va="center", color="gray")
    axis.set(title=f"IoU {threshold:.2f}, AP in %", xlabel="recall", xlim=(0, 1), ylim=(0, 1.02))
    axis.grid(alpha=0.25)
    axis.spines[["top", "right"]].set_visible(False)
