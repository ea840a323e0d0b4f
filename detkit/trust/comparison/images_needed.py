"""How many images it takes to see a difference.

For paired answers ``n = (z_{1-α/2} + z_{power})² σ² / δ²``, where σ is the standard deviation of the difference in one
image (Chow, Shao and Wang, "Sample Size Calculations in Clinical Research", second edition, 2008, section 3.1.1, the
one-sample design, of which a paired one is a case). For numbers such as AP, which are no means over images, σ² is n
times the square of the bootstrap's standard error over n images.
"""

from __future__ import annotations

import math

from scipy import stats

POWER = 0.8
"""The share of data sets of that many images on which the difference is seen."""


def images_needed(standard_error: float, images: int, difference: float, confidence: float = 0.95) -> int | None:
    """The number of images on which a difference is seen in 80 % of cases.

    Args:
        standard_error: of the difference over `images` images.
        images: their number.
        difference: the smallest difference to see.
        confidence: of the interval that must exclude 0.

    Returns:
        The number, at least 2; None where answers never differ, or where there is no standard error.
    """
    if not standard_error > 0:  # NaN too
        return None
    return max(2, math.ceil((_deviations(confidence) * standard_error / difference) ** 2 * images))


def smallest_difference(standard_error: float, confidence: float = 0.95) -> float:
    """The difference that is seen in 80 % of cases on as many images as the standard error is of."""
    return _deviations(confidence) * standard_error


def _deviations(confidence: float) -> float:
    return float(stats.norm.ppf((1 + confidence) / 2) + stats.norm.ppf(POWER))
