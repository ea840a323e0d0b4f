"""The words for each outcome, and the tables and entries beside them."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
from rich.console import Console

from detkit.files import json_text
from detkit.trust.comparison import Comparison, Difference
from detkit.trust.comparison.comparison_report import class_comparison_table, comparison_entry, comparison_table
from detkit.trust.comparison.verdict import outlook, verdict

ALIKE = Difference(0.383, 0.381, -0.009, 0.012, 0.0053, 0.7, False)
BETTER = Difference(0.383, 0.395, -0.021, -0.003, 0.0046, 0.01, False)
EQUAL = Difference(0.383, 0.383, 0.0, 0.0, 0.0, 1.0, True)
NOTHING = Difference(-1.0, -1.0, *[math.nan] * 4, True)


def comparison(head: Difference, **changes) -> Comparison:
    one = Comparison("bbox", ("A", "B"), 500, "AP", True, 100.0, 0.95, {"AP": head, "APs": NOTHING})
    return replace(one, **changes)


def test_no_difference():
    assert verdict(comparison(ALIKE)) == (
        "A and B do not differ measurably: AP 38.3 against 38.1, difference 0.2 [-0.9, 1.2] over 500 images."
    )


def test_one_is_better():
    assert verdict(comparison(BETTER)) == "B is better by 1.2 AP [0.3, 2.1]: 39.5 against 38.3 over 500 images."
    other_way = replace(BETTER, first=0.395, second=0.383, low=0.003, high=0.021)
    assert verdict(comparison(other_way)).startswith("A is better by 1.2 AP [0.3, 2.1]: 39.5 against 38.3")
    error = comparison(BETTER, higher_is_better=False, headline="AP")
    assert verdict(error) == "A is better by 1.2 AP [0.3, 2.1]: 38.3 against 39.5 over 500 images."


def test_bounds_near_0_show_their_side():
    near = replace(BETTER, first=0.383, second=0.386, low=-0.0057, high=-0.0003)
    assert "by 0.30 AP [0.03, 0.57]" in verdict(comparison(near))


def test_equal():
    assert verdict(comparison(EQUAL)) == (
        "A and B are identical: AP 38.3 over 500 images, and every other number and resample too."
    )
    assert outlook(comparison(EQUAL)) is None
    assert verdict(comparison(replace(EQUAL, first=0.0, second=0.0))) == (
        "AP is 0 for both A and B over 500 images, so that nothing tells them apart."
    )
    other_number = comparison(EQUAL, numbers={"AP": EQUAL, "AR1": ALIKE})
    assert verdict(other_number).startswith("A and B do not differ measurably: AP 38.3 against 38.3, difference 0.0")


def test_too_few_images_and_nothing_to_measure():
    one_image = replace(ALIKE, low=math.nan, high=math.nan, standard_error=math.nan, share=math.nan)
    assert (
        verdict(comparison(one_image, images=1)) == "1 image cannot tell whether A and B differ: AP 38.3 against 38.1."
    )
    assert "nothing to compare A and B by" in verdict(comparison(NOTHING))


def test_outlook():
    """0.0053 × 2.80 is 1.48 AP; 500 × 1.485² is 1,103."""
    assert outlook(comparison(ALIKE)) == (
        "At 95 % with 80 % power, 500 images show a difference of 1.5 AP or more; a difference of 1 needs about "
        "1,103 images like these."
    )


class TestNumbersThatAreShownAsTheyAre:
    """Of their size nothing is known, so they have three decimals, and 1 is no difference to look for."""

    def test_have_three_decimals(self):
        own = comparison(ALIKE, scale=1.0)
        assert verdict(own) == (
            "A and B do not differ measurably: AP 0.383 against 0.381, difference 0.002 [-0.009, 0.012] over 500 "
            "images."
        )
        assert "by 0.012 AP [0.003, 0.021]: 0.395 against 0.383" in verdict(comparison(BETTER, scale=1.0))

    def test_ask_for_the_images_that_show_the_difference_of_the_two(self):
        """500 × (0.0046 × 2.80 / 0.012)² is 577."""
        own = comparison(BETTER, scale=1.0)
        assert own.difference_to_see == pytest.approx(0.012)
        assert own.images_needed == 577
        assert outlook(own) == (
            "At 95 % with 80 % power, 500 images show a difference of 0.013 AP or more; a difference of 0.012 needs "
            "about 577 images like these."
        )
        assert comparison(replace(ALIKE, first=0.381), scale=1.0).images_needed is None


def test_tables_and_entry():
    one = comparison(BETTER, by_class={"cat": {"AP": BETTER, "AP50": ALIKE}, "dog": {"AP": ALIKE, "AP50": NOTHING}})
    console = Console(width=120, record=True, file=open("/dev/null", "w"))  # noqa: SIM115
    console.print(comparison_table(one), class_comparison_table(one))
    text = console.export_text()
    assert text.count("differs") == 2
    for cell in ("38.3", "39.5", "-1.2", "-2.1", "-0.3", "0.010", "–", "by class: AP", "cat", "dog"):
        assert cell in text
    entry = json.loads(json_text(comparison_entry(one)))
    assert entry["better"] == "B"
    assert entry["numbers"]["AP"]["interval"] == [-0.021, -0.003]
    assert entry["numbers"]["APs"]["difference"] is None
    assert entry["per_class"]["dog"]["AP"]["B"] == 0.381
    assert entry["images_needed"] == one.images_needed
