"""The confusion matrix as a table, a file and a plot."""

from __future__ import annotations

import csv
import io
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from rich.table import Table

from detkit.evaluation.confusion.confusion_matrix import ConfusionMatrix
from detkit.files import write_whole

if TYPE_CHECKING:  # its evaluators import this module
    from detkit.evaluation.image_collector import ImageEvaluation

_MATRIX_CLASSES = 12
_MOST_CONFUSED = 10
_NAMED_CLASSES = 40


def confusion_table(evaluation: ConfusionMatrix | ImageEvaluation) -> Table:
    """The confusion matrix, true class by row, predicted class by column; of more than 12 classes the most frequent
    confusions alone."""
    matrix = _matrix(evaluation)
    if len(matrix.names) > _MATRIX_CLASSES:
        return _most_confused(matrix)
    table = Table(title=_title("confusion", matrix), title_justify="left")
    table.add_column("class, predicted as")
    for name in matrix.names:
        table.add_column(name, justify="right")
    for name, row in zip(matrix.names, matrix.counts.tolist(), strict=True):
        table.add_row(name, *map(str, row))
    return table


def write_confusion(evaluation: ConfusionMatrix | ImageEvaluation, path: str | Path) -> None:
    """Write the confusion matrix: a plot where the suffix is ``.png``, else CSV with a row and a column per class.

    Args:
        evaluation: of image classes, or a matrix.
        path: the file; it appears whole or not at all.
    """
    path, matrix = Path(path), _matrix(evaluation)
    write_whole(path, _plot(matrix) if path.suffix.lower() == ".png" else _as_csv(matrix))


def _matrix(evaluation: ConfusionMatrix | ImageEvaluation) -> ConfusionMatrix:
    return evaluation if isinstance(evaluation, ConfusionMatrix) else evaluation.confusion_matrix


def _title(title: str, matrix: ConfusionMatrix) -> str:
    return f"{title}, {matrix.conditions}" if matrix.conditions else title


def _most_confused(matrix: ConfusionMatrix) -> Table:
    table = Table(title=_title("most frequent confusions", matrix), title_justify="left")
    for title in ("class", "predicted as"):
        table.add_column(title)
    for title in (matrix.counted, "of"):
        table.add_column(title, justify="right")
    for row, column in matrix.most_confused(_MOST_CONFUSED):
        counts = matrix.counts[row]
        table.add_row(matrix.names[row], matrix.names[column], str(counts[column]), str(counts.sum()))
    return table


def _as_csv(matrix: ConfusionMatrix) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["class", *matrix.names])
    writer.writerows([name, *row] for name, row in zip(matrix.names, matrix.counts.tolist(), strict=True))
    return text.getvalue().encode()


def _plot(matrix: ConfusionMatrix) -> bytes:
    """The share of each row, and in small matrices the counts."""
    shares, classes = matrix.shares, len(matrix.names)
    side = 4 + 0.35 * min(classes, _NAMED_CLASSES)
    figure = Figure(figsize=(side + 1, side), dpi=120, layout="constrained")
    axis = figure.subplots()
    drawn = axis.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    figure.colorbar(drawn, label=f"share of the {matrix.counted} of a class")
    if classes <= _NAMED_CLASSES:
        axis.set_xticks(range(classes), matrix.names, rotation=90)
        axis.set_yticks(range(classes), matrix.names)
    if classes <= _MATRIX_CLASSES:
        for (row, column), count in np.ndenumerate(matrix.counts):
            color = "white" if shares[row, column] > 0.5 else "black"
            axis.text(column, row, str(count), ha="center", va="center", color=color, fontsize=8)
    axis.set(xlabel="answer", ylabel="class")
    axis.set_title(matrix.conditions, fontsize=8)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png")
    return encoded.getvalue()
