"""What counts as a list of finite numbers."""

import numpy as np
import pytest

from detkit.files.json_values import is_finite_numbers


@pytest.mark.parametrize("values", [[], [1, 2.5], (1, 2), [np.float32(1.0), np.int64(2)]], ids=repr)
def test_lists_of_numbers_are(values):
    assert is_finite_numbers(values)


@pytest.mark.parametrize("values", [None, 1.0, "12", {1: 2}, [1, "2"], [1, None], [float("nan")], [True]], ids=repr)
def test_anything_else_is_not(values):
    assert not is_finite_numbers(values)


def test_the_count_must_fit():
    assert is_finite_numbers([1, 2], 2)
    assert not is_finite_numbers([1, 2], 4)
