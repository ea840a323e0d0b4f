"""`detkit.inspect` finds what the command finds."""

from __future__ import annotations

import json

import pytest

import detkit
from detkit.data import ShapesOptions, draw_shapes
from detkit.errors import InputError


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", ShapesOptions(counts={"train": 4, "val": 2}))


def test_gives_and_prints_problems_and_tables_and_writes_the_file(folder, tmp_path, capsys):
    inspection = detkit.inspect({"root": folder, "format": "coco"}, images=3, out=tmp_path / "inspect.json")
    assert not inspection.of_level("error")
    assert inspection.scanned == 3
    assert [row[:2] for row in inspection.tables[0].rows] == [["train", 4], ["val", 2]]
    assert json.loads((tmp_path / "inspect.json").read_text())["decoded"] == 3
    assert "Splits" in capsys.readouterr().out


def test_a_wrong_argument_is_told_in_words_of_python(folder):
    with pytest.raises(InputError, match=r"out='?\"?page\.txt|must end in \.html"):
        detkit.inspect(folder, out="page.txt")
