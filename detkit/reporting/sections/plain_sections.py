"""The sections of any evaluator: its metrics, and those of each class."""

from __future__ import annotations

from collections.abc import Iterator

from detkit.evaluation import Evaluator
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.data_table import Cell, Row, data_table
from detkit.reporting.section import Section


def plain_sections(evaluated: Evaluated) -> list[Section]:
    """A section for each evaluator that has a result."""
    return [
        section
        for name, evaluator in evaluated.evaluators.items()
        for section in evaluator_section(name, evaluator, evaluated)
    ]


def evaluator_section(name: str, evaluator: Evaluator, evaluated: Evaluated) -> Iterator[Section]:
    """The metrics of an evaluator, and those of each class; nothing where it has no result."""
    if evaluator.evaluation is None:
        return
    metrics = evaluator.evaluation.metrics
    rows: list[Row] = [[metric, Cell.number(float(value))] for metric, value in metrics.items()]
    parts = [data_table(f"Metrics of {name}", ["metric", "value"], rows, sortable=False)]
    classes = evaluator.evaluation.per_class()
    if classes:
        columns = list(dict.fromkeys(column for row in classes.values() for column in row))
        cells: list[Row] = [
            [of, *(Cell.number(row[column]) if column in row else Cell("", None) for column in columns)]
            for of, row in classes.items()
        ]
        parts.append(data_table(f"{name} by class", ["class", *columns], cells))
    headline = metrics.get(evaluator.headline)
    summary = "" if headline is None else f"{evaluator.headline} is {headline:.4g}."
    yield Section(anchor(name, "metrics"), evaluated.title("Metrics", name), parts, summary)


def anchor(*words: str) -> str:
    """The name of a section, of letters, digits and hyphens."""
    return "-".join("".join(one if one.isalnum() else "-" for one in word).strip("-") for word in words).lower()
