"""Tables in the terminal. Those that are too wide for it are printed in parts, so that every word can be read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from rich.console import Console, RenderableType
from rich.measure import Measurement
from rich.table import Column, Table
from rich.text import TextType

_AROUND = 3
"""Characters that a column takes besides its own: two spaces and a border."""


class _Need(NamedTuple):
    """The least width at which a column can be read, and that at which no line of it wraps."""

    least: int
    whole: int


def print_table(console: Console, table: RenderableType) -> None:
    """Print a table, in parts by `fitting_tables`; or lines of text, which are not wrapped."""
    if isinstance(table, Table):
        for part in fitting_tables(console, table):
            console.print(part, highlight=False, markup=False)
    else:
        console.print(table, highlight=False, markup=False, soft_wrap=isinstance(table, str))


def fitting_tables(console: Console, table: Table) -> list[Table]:
    """The table itself where it fits the console, else tables of some of its columns each, with the first in all.

    Columns of numbers, which are those aligned to the right, do not wrap. Others wrap between words, and within a word
    only where it is wider than the console, or than half of it in the first column.

    Args:
        console: says how wide.
        table: with rich's standard borders.
    """
    room = console.width - 1
    needs = [_need(console, column) for column in table.columns]
    if not needs or sum(need.whole + _AROUND for need in needs) <= room:
        return [table]
    needs[0] = needs[0]._replace(least=min(needs[0].least, room // 2))  # no name leaves too little for numbers
    parts = list(_parts([need.least + _AROUND for need in needs], room))
    tables = []
    for number, part in enumerate(parts, start=1):
        title = table.title if len(parts) == 1 or not table.title else f"{table.title} ({number} of {len(parts)})"
        tables.append(_part(table, part, _widths([needs[index] for index in part], room), title))
    return tables


def _need(console: Console, column: Column) -> _Need:
    options = console.options.update(width=10_000, markup=False)
    measured = [Measurement.get(console, options, cell) for cell in (column.header, *column.cells)]
    whole = max(one.maximum for one in measured)
    return _Need(whole if column.justify == "right" else max(one.minimum for one in measured), whole)


def _parts(widths: Sequence[int], room: int) -> Iterator[list[int]]:
    """The columns of each table: the first, and as many of the next as there is room for, at least one."""
    part, taken = [0], widths[0]
    for index, width in enumerate(widths[1:], start=1):
        if len(part) > 1 and taken + width > room:
            yield part
            part, taken = [0], widths[0]
        part.append(index)
        taken += width
    yield part


def _widths(needs: Sequence[_Need], room: int) -> list[int]:
    """The widths of the columns of a table: what each needs, and of the spare room what keeps it from wrapping."""
    room -= _AROUND * len(needs)
    widths = [need.least for need in needs]
    while sum(widths) > room and max(widths) > 1:  # a word is wider than there is room for
        widths[widths.index(max(widths))] -= 1
    spare = room - sum(widths)
    for index, need in enumerate(needs):
        more = max(0, min(spare, need.whole - widths[index]))
        widths[index] += more
        spare -= more
    return widths


def _part(table: Table, indices: Sequence[int], widths: Sequence[int], title: TextType | None) -> Table:
    """Some columns of a table, of these widths."""
    columns = [table.columns[index].copy() for index in indices]
    for column, width in zip(columns, widths, strict=True):
        column.width, column.overflow = width, "fold"
    part = Table(*columns, title=title, title_justify=table.title_justify, title_style=table.title_style)
    rows = zip(*(table.columns[index].cells for index in indices), strict=True)
    for row, cells in zip(table.rows, rows, strict=True):
        part.add_row(*cells, style=row.style, end_section=row.end_section)
    return part
