"""Positions are spread from the first to the last."""

import pytest

from detkit.data.spread import evenly_spread


@pytest.mark.parametrize(
    ("count", "most", "expected"),
    [
        (5, None, [0, 1, 2, 3, 4]),
        (5, 9, [0, 1, 2, 3, 4]),
        (9, 3, [0, 4, 8]),
        (100, 2, [0, 99]),
        (100, 1, [0]),
        (100, 0, []),
        (0, 3, []),
    ],
)
def test_the_first_and_the_last_are_among_them(count, most, expected):
    assert evenly_spread(count, most) == expected
