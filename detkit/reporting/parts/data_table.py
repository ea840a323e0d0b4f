"""A table whose columns can be sorted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE
from detkit.evaluation.tables.shown_numbers import PERCENT, shown
from detkit.reporting.parts.rendering import render


@dataclass(frozen=True)
class Bar:
    """A bar within a cell, from `low` to `high`, shares of its width, with a line at `mark` if there is one."""

    low: float
    high: float
    mark: float | None = None


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: what it shows.
        order: what its row is sorted by; None: the text, or after all others where there is none.
        bar: drawn beside the text.
    """

    text: str
    order: float | None = None
    bar: Bar | None = None

    @classmethod
    def percent(cls, value: float, bar: bool = False) -> Cell:
        """A number in 0..1 in percent; a dash where there is nothing to measure."""
        if value == NOTHING_TO_MEASURE:
            return cls("–", -1.0)
        return cls(f"{100 * value:.1f}", value, Bar(0.0, min(max(value, 0.0), 1.0)) if bar else None)

    @classmethod
    def scaled(cls, value: float, scale: float, bar: bool = False) -> Cell:
        """A metric as its evaluator says, `Evaluator.scale`: in percent, or as it is."""
        return cls.percent(value, bar) if scale == PERCENT else cls(shown(value, scale), value)

    @classmethod
    def number(cls, value: float) -> Cell:
        """A count, or another number."""
        return cls(f"{value:,}" if isinstance(value, int) else f"{value:.4g}", float(value))


Row = list[str | Cell]
"""The cells of a row; a text is a cell that shows it."""


def data_table(
    caption: str, columns: Sequence[str], rows: Sequence[Sequence[str | Cell]], sortable: bool = True
) -> Markup:
    """A table.

    Args:
        caption: what it shows.
        columns: the headings; the first column names the rows.
        rows: a cell for each column.
        sortable: whether a click on a heading sorts the rows.
    """
    cells = [[one if isinstance(one, Cell) else Cell(one) for one in row] for row in rows]
    is_number = [any(row[k].order is not None for row in cells) for k in range(len(columns))]
    return render(
        "table.html",
        caption=caption,
        columns=columns,
        rows=cells,
        is_number=is_number,
        sortable=sortable and len(rows) > 1,
    )
