"""The report of image classes: tables, and the confusion matrix as a table, a file and a plot."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from detkit.evaluation.tables.detection_report import percent
from detkit.files import write_whole

if TYPE_CHECKING:  # its evaluators import this module
    from detkit.evaluation.image_collector import ImageEvaluation

_MATRIX_CLASSES = 12
_MOST_CONFUSED = 10
_NAMED_CLASSES = 40


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


def confusion_table(evaluation: ImageEvaluation) -> Table:
    """The confusion matrix, true class by row, predicted class by column; of more than 12 classes the most frequent
    confusions alone."""
    if len(evaluation.categories) > _MATRIX_CLASSES:
        return _most_confused(evaluation)
    table = Table(title="confusion", title_justify="left")
    table.add_column("class, predicted as")
    for category in evaluation.categories:
        table.add_column(category.name, justify="right")
    for category, row in zip(evaluation.categories, evaluation.confusion.tolist(), strict=True):
        table.add_row(category.name, *map(str, row))
    return table


def _most_confused(evaluation: ImageEvaluation) -> Table:
    table = Table(title="most frequent confusions", title_justify="left")
    for title in ("class", "predicted as"):
        table.add_column(title)
    for title in ("images", "of"):
        table.add_column(title, justify="right")
    confusion = evaluation.confusion
    wrong = confusion - np.diag(np.diag(confusion))
    names = [category.name for category in evaluation.categories]
    for index in np.argsort(-wrong, axis=None, kind="stable")[:_MOST_CONFUSED]:
        row, column = divmod(int(index), len(names))
        if wrong[row, column]:
            table.add_row(names[row], names[column], str(wrong[row, column]), str(confusion[row].sum()))
    return table


def write_confusion(evaluation: ImageEvaluation, path: str | Path) -> None:
    """Write the confusion matrix: a plot where the suffix is ``.png``, else CSV with a row and a column per class.

    Args:
        evaluation: of image classes.
        path: the file; it appears whole or not at all.
    """
    path = Path(path)
    write_whole(path, _plot(evaluation) if path.suffix.lower() == ".png" else _as_csv(evaluation))


def _as_csv(evaluation: ImageEvaluation) -> bytes:
    names = [category.name for category in evaluation.categories]
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["class", *names])
    writer.writerows([name, *row] for name, row in zip(names, evaluation.confusion.tolist(), strict=True))
    return text.getvalue().encode()


def _plot(evaluation: ImageEvaluation) -> bytes:
    """The share of each row, and in small matrices the numbers of images."""
    confusion, classes = evaluation.confusion, len(evaluation.categories)
    shares = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    side = 4 + 0.35 * min(classes, _NAMED_CLASSES)
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, label="share of the images of a class")
    if classes <= _NAMED_CLASSES:
        names = [category.name for category in evaluation.categories]
        axis.set_xticks(range(classes), names, rotation=90)
        axis.set_yticks(range(classes), names)
    if classes <= _MATRIX_CLASSES:
        for (row, column), count in np.ndenumerate(confusion):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    axis.set(xlabel="answer", ylabel="class")
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png")
    return encoded.getvalue()
