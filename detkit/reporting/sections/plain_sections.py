"""The sections of any evaluator: its metrics, and those of each class."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from detkit.evaluation import Evaluator
from detkit.evaluation.tables.shown_numbers import shown, unit_of
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
    scales = {metric: evaluator.scale_of(metric) for metric in metrics}
    units = {metric: unit_of(scale) for metric, scale in scales.items()}
    shared = "" if evaluator.unscaled else unit_of(evaluator.scale)
    rows: list[Row] = [
        [f"{metric}{units[metric].removesuffix(shared)}", Cell.scaled(float(value), scales[metric])]
        for metric, value in metrics.items()
    ]
    parts = [data_table(f"Metrics of {name}", ["metric", f"value{shared}"], rows, sortable=False)]
    classes = evaluator.evaluation.per_class()
    if classes:
        columns = list(dict.fromkeys(column for row in classes.values() for column in row))
        cells: list[Row] = [
            [of, *(_class_cell(row, column, scales.get(column, 1.0)) for column in columns)]
            for of, row in classes.items()
        ]
        headings = [f"{column}{units.get(column, '')}" for column in columns]
        parts.append(data_table(f"{name} by class", ["class", *headings], cells))
    headline = metrics.get(evaluator.headline)
    summary = ""
    if headline is not None:
        best = evaluator.headline
        summary = f"{best} is {shown(headline, scales[best])}{units[best]}."
    yield Section(anchor(name, "metrics"), evaluated.title("Metrics", name), parts, summary)


def _class_cell(row: Mapping[str, Any], column: str, scale: float) -> Cell:
    """A metric of a class; a count is shown as it is, and what the class does not have is empty."""
    if column not in row:
        return Cell("", None)
    value = row[column]
    return Cell.number(value) if isinstance(value, int) else Cell.scaled(float(value), scale)


def anchor(*words: str) -> str:
    """The name of a section, of letters, digits and hyphens."""
    return "-".join("".join(one if one.isalnum() else "-" for one in word).strip("-") for word in words).lower()
