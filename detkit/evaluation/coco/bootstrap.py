"""How sure the numbers of an evaluation are: confidence intervals by the bootstrap (Efron 1979)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detkit.errors import InputError
from detkit.evaluation.coco import native
from detkit.evaluation.coco.coco_evaluation import CocoEvaluation, check_native
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE


class Interval(NamedTuple):
    """Where a number lies with the asked confidence; both -1 where there is nothing to measure."""

    low: float
    high: float


def bootstrap(
    evaluation: CocoEvaluation, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """An interval for each of COCO's numbers, from data sets drawn with replacement out of the images of this one.

    The interval is that of percentiles. It tells how much the numbers owe to the choice of the images, nothing of the
    chance in training. A detector is matched to the objects once; each sample only counts the images anew.

    Args:
        evaluation: of which the numbers are.
        samples: how many data sets are drawn.
        confidence: the share of them whose number lies in the interval.
        seed: the same seed gives the same intervals.

    Raises:
        InputError: `samples` or `confidence` is out of range, or the native kernels were not built.
    """
    if samples < 2:
        raise InputError(f"bootstrap needs at least 2 samples, got {samples}")
    if not 0 < confidence < 1:
        raise InputError(f"bootstrap needs a confidence between 0 and 1, got {confidence}")
    check_native("bootstrap")
    names, images = list(evaluation.metrics), len(evaluation.ground_truth.image_ids)
    if not images or not evaluation.categories:
        return dict.fromkeys(names, Interval(NOTHING_TO_MEASURE, NOTHING_TO_MEASURE))
    matches = native.match(
        evaluation.ground_truth, evaluation.found, evaluation.iou_type, evaluation.protocol, evaluation.keypoint_sigmas
    )
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(samples):
        weights = np.bincount(random.integers(images, size=images), minlength=images).astype(np.float64)
        curves = native.accumulate(evaluation.ground_truth, evaluation.found, matches, evaluation.protocol, weights)
        drawn.append(list(evaluation.protocol.summarize(curves).values()))
    return {name: _interval(values, confidence) for name, values in zip(names, np.transpose(drawn), strict=True)}


def _interval(values: np.ndarray, confidence: float) -> Interval:
    """Samples without an object that decides the number say nothing of it."""
    values = values[values > NOTHING_TO_MEASURE]
    if not len(values):
        return Interval(NOTHING_TO_MEASURE, NOTHING_TO_MEASURE)
    tail = (1 - confidence) / 2
    return Interval(*np.quantile(values, (tail, 1 - tail)).tolist())
