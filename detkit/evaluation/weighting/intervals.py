"""Confidence intervals of numbers of resampled images (Hesterberg, "What Teachers Should Know About the Bootstrap", The
American Statistician 69, 2015)."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import numpy as np
from scipy import stats

from detkit.errors import InputError
from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.evaluation.weighting.image_weighting import ImageWeighting, drawn_weights


class Interval(NamedTuple):
    """The bounds of a confidence interval; both -1 where there is nothing to measure."""

    low: float
    high: float


def weighted_intervals(
    weighting: ImageWeighting,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    unscaled: Collection[str] = (),
) -> dict[str, Interval]:
    """A confidence interval for each number of an evaluation whose images can be weighted.

    Args:
        weighting: the evaluation.
        samples: the number of data sets drawn from the images with replacement.
        confidence: the share of data sets whose interval contains the number of all images of that kind.
        seed: the same seed gives the same intervals.
        unscaled: the numbers that are no shares in 0..1, `Evaluator.unscaled`.

    Raises:
        InputError: `samples` or `confidence` is out of range.
    """
    check_resampling(samples, confidence)
    images = len(weighting.data.image_ids)
    whole = weighting.numbers(np.ones(images)).of_all
    drawn = [weighting.numbers(weights).of_all for weights in drawn_weights(images, samples, seed)]
    return {
        name: student_interval(
            value, np.array([one[name] for one in drawn]), images, confidence, is_share=name not in unscaled
        )
        for name, value in whole.items()
    }


def check_resampling(samples: int, confidence: float) -> None:
    """Raise an `InputError` where one is out of range."""
    if samples < 2:
        raise InputError(f"bootstrap needs at least 2 samples, got {samples}")
    if not 0 < confidence < 1:
        raise InputError(f"bootstrap needs a confidence between 0 and 1, got {confidence}")


def student_interval(
    value: float, values: np.ndarray, images: int, confidence: float, is_share: bool = True
) -> Interval:
    """Student's interval around a number, from those samples that have something to measure with; for shares on the
    scale ``arcsin(sqrt(number))`` (Hesterberg 2015, section 5.1).

    Args:
        value: the number of all images.
        values: ``(S,)`` that of each sample.
        images: the number of images.
        confidence: of the interval.
        is_share: whether the number is one in 0..1.
    """
    if value == NOTHING_TO_MEASURE:
        return Interval(NOTHING_TO_MEASURE, NOTHING_TO_MEASURE)
    measured = values[values > NOTHING_TO_MEASURE]
    if images < 2 or len(measured) < 2:
        return Interval(value, value)
    moved = np.arcsin(np.sqrt(measured.clip(0, 1))) if is_share else measured
    # A sample of n images varies by the factor (n - 1) / n too little.
    error = moved.std(ddof=1) * (images / (images - 1)) ** 0.5
    reach = error * stats.t.ppf((1 + confidence) / 2, images - 1)
    if not is_share:
        return Interval(float(value - reach), float(value + reach))
    low, high = np.sin((np.arcsin(np.sqrt(value)) + np.array([-reach, reach])).clip(0, np.pi / 2)) ** 2
    return Interval(min(float(low), value), max(float(high), value))
