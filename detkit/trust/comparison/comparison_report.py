"""Tables and the JSON entry of a comparison."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from rich.table import Table

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.evaluation.tables.shown_numbers import shown, signed
from detkit.trust.comparison.compared import Comparison
from detkit.trust.comparison.difference import Difference
from detkit.trust.comparison.images_needed import smallest_difference
from detkit.trust.comparison.verdict import outlook, verdict


def comparison_table(comparison: Comparison) -> Table:
    """One row per number: both values, their difference, its interval, and the share of resamples."""
    return _table(
        comparison, f"{comparison.evaluator}: {' − '.join(comparison.names)}", comparison.numbers, comparison.scales
    )


def class_comparison_table(comparison: Comparison) -> Table:
    """One row per class: its first number, as `comparison_table`."""
    rows = {label: next(iter(row.values())) for label, row in comparison.by_class.items()}
    name = next((name for row in comparison.by_class.values() for name in row), comparison.headline)
    scale = comparison.scales.get(name, comparison.scale)
    return _table(comparison, f"{comparison.evaluator} by class: {name}", rows, dict.fromkeys(rows, scale))


def comparison_entry(comparison: Comparison) -> dict[str, Any]:
    """All numbers as JSON values; numbers in 0..1 where they are shown in percent."""
    head = comparison.head
    entry: dict[str, Any] = {
        "verdict": verdict(comparison),
        "better": comparison.better,
        "equal": comparison.is_equal,
        "images": comparison.images,
        "headline": comparison.headline,
        "images_needed": comparison.images_needed,
        "smallest_difference": smallest_difference(head.standard_error, comparison.confidence),
        "outlook": outlook(comparison),
        "notes": list(comparison.notes),
        "numbers": _entries(comparison, comparison.numbers),
    }
    if comparison.by_class:
        entry["per_class"] = {label: _entries(comparison, row) for label, row in comparison.by_class.items()}
    return entry


def _entries(comparison: Comparison, rows: Mapping[str, Difference]) -> dict[str, Any]:
    first, second = comparison.names
    return {
        name: {
            first: row.first,
            second: row.second,
            "difference": row.difference,
            "interval": [row.low, row.high],
            "standard_error": row.standard_error,
            "share": row.share,
            "differs": row.differs,
        }
        for name, row in rows.items()
    }


def _table(comparison: Comparison, title: str, rows: Mapping[str, Difference], scales: Mapping[str, float]) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("")
    for column in (*comparison.names, "difference", "from", "to", "share", ""):
        table.add_column(column, justify="right")
    for name, row in rows.items():
        scale = scales.get(name, comparison.scale)
        table.add_row(name, *_cells(row, scale), style="bold" if name == comparison.headline else None)
    return table


def _cells(row: Difference, scale: float) -> list[str]:
    if math.isnan(row.difference):
        values = ["–" if one == NOTHING_TO_MEASURE else shown(one, scale) for one in (row.first, row.second)]
        return [*values, *["–"] * 4, ""]
    bounds = [signed(bound, scale) for bound in (row.low, row.high)]
    share = "–" if math.isnan(row.share) else f"{row.share:.3f}"
    mark = "equal" if row.is_equal else "differs" if row.differs else ""
    difference = signed(row.difference, scale)
    return [shown(row.first, scale), shown(row.second, scale), difference, *bounds, share, mark]
