"""Tables of any width in a terminal of 80 columns and in others: every word is there, and nothing is cut."""

from __future__ import annotations

import io
import re
import secrets

import numpy as np
import pytest
from rich.console import Console
from rich.table import Table

from detkit.evaluation.tables.mesh_report import mixed_class_table
from detkit.evaluation.tables.printed_tables import fitting_tables, print_table
from detkit.evaluation.tables.shown_numbers import PERCENT

SEEDS = [0, 1, pytest.param(secrets.randbits(31), id="fresh")]


def printed(table, width=80):
    console = Console(file=io.StringIO(), width=width)
    print_table(console, table)
    return console.file.getvalue()


def rows_of(text):
    """The cells of each printed line, the words of wrapped cells on lines of their own."""
    lines = [line for line in text.splitlines() if line[:1] in "│┃"]
    return [[cell.strip() for cell in re.split("[│┃]", line)[1:-1]] for line in lines]


def read_again(text):
    """By row and column the value of each cell of printed tables whose cells do not wrap."""
    values, head = {}, []
    for line in text.splitlines():
        cells = [cell.strip() for cell in re.split("[│┃]", line)[1:-1]]
        if line.startswith("┃"):
            head = cells
        elif line.startswith("│"):
            values |= {(cells[0], name): cell for name, cell in zip(head[1:], cells[1:], strict=True)}
    return values


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("seed", SEEDS)
def test_all_cells_are_printed_under_their_heads(seed, width):
    random = np.random.default_rng(seed)
    names = [f"{'m' * random.integers(1, 13)}{number}" for number in range(random.integers(1, 30))]
    rows = [f"{'c' * random.integers(1, 13)}{number}" for number in range(3)]
    table = Table("class", title="numbers", title_justify="left")
    for name in names:
        table.add_column(name, justify="right")
    values = {(row, name): f"{random.normal():.3f}" for row in rows for name in names}
    for row in rows:
        table.add_row(row, *(values[row, name] for name in names))
    text = printed(table, width)
    assert read_again(text) == values
    assert max(map(len, text.splitlines())) <= width


def test_meshes_by_class_are_legible_at_80_columns():
    """The table of `MeshEvaluator`, of 17 columns."""
    shares = ["AP_mesh", "AP50_mask", "AP50_box", *(f"F1_0.{tenth}" for tenth in range(1, 6)), "without_faces"]
    distances = ["chamfer", "normal_consistency", "abs_normal_consistency"]
    row = dict.fromkeys([*shares, *distances, "voxel_iou"], 0.25) | {"objects": 1234, "images": 567, "detections": 8}
    names = ["wardrobe", "bookcase", "a potted plant"]
    scales = {name: PERCENT for name in [*shares, "voxel_iou"]}
    table = mixed_class_table("meshes by class", dict.fromkeys(names, row), lambda name: scales.get(name, 1.0))
    text = printed(table)
    assert max(map(len, text.splitlines())) <= 80
    assert "…" not in text
    parts = re.findall(r"meshes by class \((\d) of (\d)\)", text)
    assert parts == [(str(number + 1), str(len(parts))) for number in range(len(parts))]
    assert 2 <= len(parts) <= 4
    heads = {f"{name} %" for name in scales} | {*distances, "objects", "images", "detections"}
    values = read_again(text)
    assert set(values) == {(name, head) for name in names for head in heads}
    assert values["bookcase", "F1_0.3 %"] == "25.0"
    assert values["a potted plant", "objects"] == "1234"


def test_a_table_that_fits_is_itself():
    table = Table("class", "AP")
    table.add_row("a", "1")
    assert max(map(len, printed(table, 100).splitlines())) == 14
    for width, fits in ((14, True), (13, False)):
        parts = fitting_tables(Console(file=io.StringIO(), width=width), table)
        assert (parts[0] is table) == fits
    empty = Table()
    assert fitting_tables(Console(file=io.StringIO(), width=14), empty) == [empty]


def test_names_wrap_between_words_before_a_table_is_split():
    table = Table("class", title="sizes")
    for name in ("first", "second"):
        table.add_column(name, justify="right")
    table.add_row("one name of several words", "1", "2", style="bold", end_section=True)
    table.add_row("other", "3", "4")
    console = Console(file=io.StringIO(), width=34)
    (part,) = fitting_tables(console, table)
    assert part.title == "sizes"
    assert [(row.style, row.end_section) for row in part.rows] == [("bold", True), (None, False)]
    assert rows_of(printed(table, 34)) == [
        ["class", "first", "second"],
        ["one name of", "1", "2"],
        ["several words", "", ""],
        ["other", "3", "4"],
    ]


def test_words_wider_than_the_terminal_are_folded_and_markup_is_text():
    table = Table("class")
    table.add_column("n" * 50, justify="right")
    table.add_row("[red]" + "x" * 60, "1")
    text = printed(table, 30)
    assert max(map(len, text.splitlines())) <= 30
    assert text.count("x") == 60
    assert text.count("n") == 50
    assert "[red]" in text


def test_lines_of_text_are_not_wrapped():
    assert printed("a " * 60) == "a " * 60 + "\n"
