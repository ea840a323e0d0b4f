"""How often two detectors of the same quality are said to differ, and how often the interval holds the difference."""

from __future__ import annotations

import numpy as np
import pytest
from made_detections import evaluator_of, made_detections, made_truth

from detkit.evaluation import ImageMeans, MeasuredData
from detkit.trust.comparison import compare
from detkit.trust.comparison.difference import difference_of

pytestmark = pytest.mark.slow

TRIALS = 400


def test_detectors_of_the_same_quality_differ_in_about_5_percent():
    """In 400 trials a share of 5 % is between 2.2 % and 8.3 % with a probability of 99.7 %."""
    differs = []
    for trial in range(TRIALS):
        random = np.random.default_rng(trial)
        truth = made_truth(random, 100, classes=2)
        pair = (evaluator_of(truth, made_detections(random, truth)) for _ in "AB")
        differs.append(compare(*pair, samples=100, seed=trial).better is not None)
    assert 0.022 <= np.mean(differs) <= 0.083


def test_intervals_of_means_hold_a_known_difference_in_95_percent():
    """Classifiers right on 75 % and 65 % of the images: the difference is 0.1."""
    holds, images = [], 150
    data = MeasuredData("x", range(images), ["all"], np.arange(images), np.zeros(images, int), np.zeros((images, 0)))
    for trial in range(1000):
        random = np.random.default_rng(trial)
        hard = random.random(images) * 0.5
        first, second = (ImageMeans(data, {"top1": random.random(images) < right - hard}) for right in (1.0, 0.9))
        drawn = [random.multinomial(images, [1 / images] * images) for _ in range(200)]
        values = [[one.numbers(weights).of_all["top1"] for weights in drawn] for one in (first, second)]
        whole = [one.numbers(np.ones(images)).of_all["top1"] for one in (first, second)]
        one = difference_of(*whole, *map(np.array, values), images, 0.95)
        holds.append(one.low <= 0.1 <= one.high)
    assert 0.93 <= np.mean(holds) <= 0.97
