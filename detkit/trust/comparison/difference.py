"""The difference of one number of two evaluations, from resamples that both share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from scipy import stats

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE

_ROUNDING = 1e-12
"""Below it a difference is that of sums in another order, such as that of the classes."""


@dataclass(frozen=True)
class Difference:
    """A number of two evaluations, and how surely it differs.

    Args:
        first: the number of the first, -1 where there is nothing to measure.
        second: that of the second.
        low: the lower bound of the interval of ``first - second``; NaN without an interval.
        high: its upper bound.
        standard_error: of ``first - second``; NaN without an interval.
        share: of resamples that deviate from their mean at least as much as the difference from 0; read as a p-value.
        is_equal: the numbers are identical, and those of all resamples too.
    """

    first: float
    second: float
    low: float
    high: float
    standard_error: float
    share: float
    is_equal: bool

    @cached_property
    def difference(self) -> float:
        """``first - second``; NaN where there is nothing to measure."""
        nothing = NOTHING_TO_MEASURE in (self.first, self.second)
        return math.nan if nothing else float(_rounded(self.first - self.second))

    @property
    def differs(self) -> bool:
        """Whether the interval lies on one side of 0."""
        return self.low > 0 or self.high < 0


def difference_of(
    first: float, second: float, firsts: np.ndarray, seconds: np.ndarray, images: int, confidence: float
) -> Difference:
    """The difference of two numbers, with Student's interval by the bootstrap's standard error.

    Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69, 2015, section 5.1. The
    share of resamples is counted from their mean, as Hall and Wilson, "Two Guidelines for Bootstrap Hypothesis
    Testing", Biometrics 47, 1991, advise.

    Args:
        first: the number of all images.
        second: likewise.
        firsts: ``(S,)`` the numbers of the resamples.
        seconds: ``(S,)`` those of the same resamples.
        images: the number of images.
        confidence: the share of data sets whose interval contains the difference of all images of that kind.
    """
    measured = (firsts > NOTHING_TO_MEASURE) & (seconds > NOTHING_TO_MEASURE)
    drawn, difference = _rounded(firsts[measured] - seconds[measured]), float(_rounded(first - second))
    if NOTHING_TO_MEASURE in (first, second) or images < 2 or len(drawn) < 2:
        return Difference(first, second, math.nan, math.nan, math.nan, math.nan, first == second)
    is_equal = difference == 0 and not drawn.any()
    # A sample of n images varies by the factor (n - 1) / n too little.
    error = float(drawn.std(ddof=1)) * (images / (images - 1)) ** 0.5
    reach = error * float(stats.t.ppf((1 + confidence) / 2, images - 1))
    extreme = int((np.abs(drawn - drawn.mean()) >= abs(difference)).sum())
    share = (extreme + 1) / (len(drawn) + 1)
    return Difference(first, second, difference - reach, difference + reach, error, share, is_equal)


def _rounded(difference: np.ndarray | float) -> np.ndarray:
    return np.where(np.abs(difference) < _ROUNDING, 0.0, difference)
