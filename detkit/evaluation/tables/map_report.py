"""The report of maps: tables in percent, and their entry in ``metrics.json``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from rich.table import Table

from detkit.evaluation.tables.detection_report import percent
from detkit.evaluation.weighting.intervals import Interval


class _MapEvaluation(Protocol):
    @property
    def metrics(self) -> Mapping[str, float]: ...

    def per_class(self) -> Mapping[str, Mapping[str, Any]]: ...


def numbers_table(title: str, metrics: Mapping[str, float], intervals: Mapping[str, Interval] | None) -> Table:
    """One row per number in percent, the first in bold, and its confidence interval where there is one."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("%", *(("from", "to") if intervals else ())):
        table.add_column(column, justify="right")
    for index, (name, value) in enumerate(metrics.items()):
        bounds = map(percent, intervals[name]) if intervals else ()
        table.add_row(name, percent(value), *bounds, style="bold" if index == 0 else None)
    return table


def class_numbers_table(title: str, rows: Mapping[str, Mapping[str, Any]]) -> Table:
    """One row per class: shares in percent, a dash where there is nothing to measure, and whole numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for column in next(iter(rows.values()), {}):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        table.add_row(name, *(str(value) if isinstance(value, int) else percent(value) for value in row.values()))
    return table


def map_entry(evaluation: _MapEvaluation, per_class: bool, intervals: Mapping[str, Interval] | None) -> dict[str, Any]:
    """The entry in ``metrics.json``: the numbers, and on request ``per_class`` and ``intervals``."""
    entry: dict[str, Any] = dict(evaluation.metrics)
    if per_class:
        entry["per_class"] = evaluation.per_class()
    if intervals:
        entry["intervals"] = intervals
    return entry
