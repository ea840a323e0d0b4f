"""Numbers as texts: in percent where the evaluator says so."""

import pytest

from detkit.evaluation.tables.shown_numbers import shown, unit_of


@pytest.mark.parametrize(
    ("value", "scale", "text"),
    [(0.3834, 100.0, "38.3"), (12.3456, 1.0, "12.346"), (-1.0, 100.0, "–"), (-1.0, 1.0, "–")],
)
def test_a_number(value, scale, text):
    assert shown(value, scale) == text


def test_its_unit():
    assert (unit_of(100.0), unit_of(1.0)) == (" %", "")
