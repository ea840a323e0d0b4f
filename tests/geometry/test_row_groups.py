import random
from itertools import groupby

import numpy as np
import pytest

from detkit.geometry import rows_alike


def test_rows_of_one_key_come_together_in_their_order():
    assert rows_alike(["b", "a", "b", None, (1, 2), "a", (1, 2)]) == [[0, 2], [1, 5], [4, 6]]


def test_there_are_no_rows():
    assert rows_alike([]) == rows_alike([None, None]) == []


@pytest.mark.parametrize("seed", [0, pytest.param(random.SystemRandom().randrange(2**31), id="fresh")])
def test_groups_are_those_of_sorted_rows(seed):
    keys = np.random.default_rng(seed).integers(0, 5, 40).tolist()
    by_key = groupby(sorted(range(40), key=lambda row: keys[row]), key=lambda row: keys[row])
    assert sorted(rows_alike(keys)) == sorted(list(rows) for _, rows in by_key)
