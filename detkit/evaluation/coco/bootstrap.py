"""Confidence intervals of COCO's numbers by the bootstrap (Efron 1979)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detkit.errors import InputError
from detkit.evaluation.coco import native_backend
from detkit.evaluation.coco.coco_evaluation import CocoEvaluation, check_native
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE


class Interval(NamedTuple):
    """The bounds of a confidence interval; both -1 where there is nothing to measure."""

    low: float
    high: float


def bootstrap(
    evaluation: CocoEvaluation, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> dict[str, Interval]:
    """A confidence interval for each of COCO's numbers, from data sets resampled from the images with replacement.

    These are percentile intervals. They measure how much the numbers depend on the choice of the images, not on the
    randomness of training. Detections are matched to objects once; each sample only reweights the images.

    Args:
        evaluation: whose numbers the intervals are for.
        samples: the number of resampled data sets.
        confidence: the share of samples whose number lies in the interval.
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
    truth, detections, protocol = evaluation.ground_truth, evaluation.detections, evaluation.protocol
    matches = native_backend.match(truth, detections, evaluation.iou_type, protocol, evaluation.keypoint_sigmas)
    random = np.random.default_rng(seed)
    drawn = []
    for _ in range(samples):
        weights = np.bincount(random.integers(images, size=images), minlength=images).astype(np.float64)
        curves = native_backend.accumulate(truth, detections, matches, protocol, weights)
        drawn.append(list(protocol.summarize(curves).values()))
    return {name: _interval(values, confidence) for name, values in zip(names, np.transpose(drawn), strict=True)}


def _interval(values: np.ndarray, confidence: float) -> Interval:
    """The percentiles of the samples that have an object to measure with."""
    values = values[values > NOTHING_TO_MEASURE]
    if not len(values):
        return Interval(NOTHING_TO_MEASURE, NOTHING_TO_MEASURE)
    tail = (1 - confidence) / 2
    return Interval(*np.quantile(values, (tail, 1 - tail)).tolist())
