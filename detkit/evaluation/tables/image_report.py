"""The report of image classes: tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from detkit.deprecation import moved_names
from detkit.evaluation.tables.detection_report import percent

if TYPE_CHECKING:  # its evaluators import this module
    from detkit.evaluation.image_collector import ImageEvaluation

__getattr__ = moved_names(
    __name__,
    {
        "confusion_table": "detkit.evaluation.tables.confusion_report.confusion_table",
        "write_confusion": "detkit.evaluation.tables.confusion_report.write_confusion",
    },
)


def image_table(evaluation: ImageEvaluation) -> Table:
    """The metrics in percent."""
    table = Table(title=evaluation.task, title_justify="left")
    table.add_column(f"{len(evaluation.labels)} images")
    table.add_column("%", justify="right")
    for index, (name, value) in enumerate(evaluation.metrics.items()):
        table.add_row(name.replace("_", " "), percent(value), style="bold" if index == 0 else None)
    return table


def image_class_table(evaluation: ImageEvaluation) -> Table:
    """One row per class: the metrics in percent, and the number of images."""
    table = Table(title=f"{evaluation.task} by class", title_justify="left")
    table.add_column("class")
    for name in (*evaluation.values, "images"):
        table.add_column(name.replace("_", " "), justify="right")
    for name, row in evaluation.per_class().items():
        table.add_row(name, *(percent(row[number]) for number in evaluation.values), str(row["images"]))
    return table
