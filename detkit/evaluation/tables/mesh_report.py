"""The report of meshes: tables of shares in percent beside distances as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from rich.table import Table

from detkit.evaluation.tables.shown_numbers import shown, unit_of
from detkit.evaluation.weighting.intervals import Interval

ScaleOf = Callable[[str], float]
"""What a number is multiplied by to be shown, by its name: `detkit.evaluation.Evaluator.scale_of`."""


def mixed_numbers_table(
    title: str, metrics: Mapping[str, float], scale_of: ScaleOf, intervals: Mapping[str, Interval] | None
) -> Table:
    """One row per number, with its unit, the first in bold, and its confidence interval where there is one."""
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in ("value", *(("from", "to") if intervals else ())):
        table.add_column(column, justify="right")
    for index, (name, value) in enumerate(metrics.items()):
        scale = scale_of(name)
        bounds = [shown(bound, scale) for bound in intervals[name]] if intervals else []
        row = [f"{name}{unit_of(scale)}", shown(value, scale), *bounds]
        table.add_row(*row, style="bold" if index == 0 else None)
    return table


def mixed_class_table(title: str, rows: Mapping[str, Mapping[str, Any]], scale_of: ScaleOf) -> Table:
    """One row per class: numbers as they are shown, a dash where there is nothing to measure, and whole numbers."""
    table = Table(title=title, title_justify="left")
    table.add_column("class")
    for name, value in next(iter(rows.values()), {}).items():
        table.add_column(name if isinstance(value, int) else f"{name}{unit_of(scale_of(name))}", justify="right")
    for label, row in rows.items():
        cells = [str(one) if isinstance(one, int) else shown(one, scale_of(name)) for name, one in row.items()]
        table.add_row(label, *cells)
    return table
