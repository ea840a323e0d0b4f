"""What counts as a list of finite numbers."""

import numpy as np
import pytest

from detkit.files.json_values import is_finite_numbers, shown


@pytest.mark.parametrize("values", [[], [1, 2.5], (1, 2), [np.float32(1.0), np.int64(2)]], ids=repr)
def test_lists_of_numbers_are(values):
    assert is_finite_numbers(values)


@pytest.mark.parametrize(
    "values", [None, 1.0, "12", "", b"", {1: 2}, [1, "2"], [1, None], [float("nan")], [True], [10**400]], ids=repr
)
def test_anything_else_is_not(values):
    assert not is_finite_numbers(values)


def test_integers_beyond_floats_are_not():
    assert not is_finite_numbers([10**400])


def test_the_count_must_fit():
    assert is_finite_numbers([1, 2], 2)
    assert not is_finite_numbers([1, 2], 4)


def test_any_value_is_shown_on_one_short_line():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("a\nb", 10**6000, [1] * 1000, deep, {"a": None}):
        assert len(shown(value)) <= 80
        assert len(shown(value).splitlines()) == 1
    assert shown([1, "a"]) == "[1, 'a']"
