"""The number of images for a difference, beside a published table and by simulation."""

from __future__ import annotations

import math

import numpy as np
import pytest

from detkit.trust.comparison.images_needed import POWER, images_needed, smallest_difference


def test_of_a_known_deviation():
    """(1.96 + 0.84)² = 7.85 for 95 % and 80 %, as in every table: σ = 2 and δ = 1 take 32 images."""
    assert images_needed(2 / math.sqrt(500), 500, 1.0) == math.ceil(7.8489 * 4)
    assert images_needed(2 / math.sqrt(50), 50, 1.0) == images_needed(2 / math.sqrt(500), 500, 1.0)
    assert images_needed(2 / math.sqrt(500), 500, 1.0, confidence=0.99) == math.ceil((2.5758 + 0.8416) ** 2 * 4)


def test_it_is_what_shows_the_smallest_difference():
    error = 0.013
    assert images_needed(error, 500, smallest_difference(error)) == pytest.approx(500, abs=1)


@pytest.mark.parametrize("error", [0.0, math.nan])
def test_without_an_error_there_is_none(error):
    assert images_needed(error, 500, 0.01) is None


@pytest.mark.slow
def test_that_many_images_show_the_difference_in_80_percent():
    """Two classifiers right on 70 % and 75 % of the images, 55 % both: the variance of one image's difference is 0.35
    minus 0.05²."""
    outcomes, shares = np.array([0, 1, -1, 0]), [0.55, 0.20, 0.15, 0.10]
    deviation = math.sqrt(0.35 - 0.05**2)
    needed = images_needed(deviation / math.sqrt(100), 100, 0.05)
    assert needed == math.ceil(7.8489 * deviation**2 / 0.05**2)
    random, seen = np.random.default_rng(0), []
    for _ in range(4000):
        values = outcomes[random.choice(4, needed, p=shares)]
        seen.append(abs(values.mean()) > 1.96 * values.std(ddof=1) / math.sqrt(needed))
    assert np.mean(seen) == pytest.approx(POWER, abs=0.02)
