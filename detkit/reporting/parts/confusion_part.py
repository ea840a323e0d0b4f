"""A confusion matrix on the page."""

from __future__ import annotations

from markupsafe import Markup

from detkit.evaluation import ConfusionMatrix
from detkit.reporting.parts.data_table import Cell, Row, data_table
from detkit.reporting.parts.rendering import render

_SHOWN_CLASSES = 41
_MOST_CLASSES = 101
_MOST_CONFUSED = 15


def confusion_part(matrix: ConfusionMatrix) -> Markup:
    """The matrix, folded where it has more than 41 classes and left out above 101, and which classes are confused."""
    names, shares = list(matrix.names), matrix.shares
    confused: list[Row] = [
        [
            names[row],
            names[column],
            Cell.number(int(matrix.counts[row, column])),
            Cell.percent(float(shares[row, column])),
        ]
        for row, column in _between_classes(matrix)[:_MOST_CONFUSED]
    ]
    drawn = render(
        "confusion.html",
        names=names,
        rows=zip(names, matrix.counts.tolist(), shares.round(4).tolist(), strict=True),
        counted=matrix.counted,
        conditions=matrix.conditions,
        is_folded=len(names) > _SHOWN_CLASSES,
    )
    columns = ["class", "predicted as", matrix.counted, "% of the row"]
    table = data_table("Most frequent confusions between classes", columns, confused) if confused else Markup("")
    return (drawn if len(names) <= _MOST_CLASSES else Markup("")) + table


def confusion_summary(matrix: ConfusionMatrix) -> str:
    """The most frequent confusion between two classes in a sentence; empty where there is none."""
    for row, column in _between_classes(matrix)[:1]:
        count = int(matrix.counts[row, column])
        often = "once" if count == 1 else f"{count} times"
        return f"Most often confused: {matrix.names[row]} taken for {matrix.names[column]}, {often}."
    return ""


def _between_classes(matrix: ConfusionMatrix) -> list[tuple[int, int]]:
    """The rows and columns of the most frequent confusions without the background."""
    places = matrix.most_confused(matrix.counts.size)
    return [place for place in places if matrix.background not in place]
