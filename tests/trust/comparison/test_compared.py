"""Two that are one, two that differ, and the interval beside scipy's and McNemar's."""

from __future__ import annotations

import math
from contextlib import redirect_stdout
from typing import ClassVar

import numpy as np
import pytest
import torch
from made_detections import evaluator_of, made_detections, made_truth
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from scipy import stats

from detkit.errors import InputError
from detkit.evaluation import (
    ClassificationEvaluator,
    Evaluation,
    Evaluator,
    ImageMeans,
    MeasuredData,
    SemanticEvaluator,
    VocEvaluator,
)
from detkit.structures import Classification, SemanticMap, Target
from detkit.trust.comparison import compare
from detkit.trust.comparison.comparison_report import comparison_table

RNG = np.random.default_rng


def classifier(labels: np.ndarray, is_right: np.ndarray) -> ClassificationEvaluator:
    """The evaluator of a classifier of two classes that is right where it is said."""
    content = {
        "images": [{"id": k, "category_id": int(label)} for k, label in enumerate(labels)],
        "categories": [{"id": 0, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": [],
    }
    evaluator = ClassificationEvaluator(content)
    answers = [
        Classification(torch.ones(1), torch.tensor([label if right else 1 - label]))
        for label, right in zip(labels.tolist(), is_right.tolist(), strict=True)
    ]
    evaluator.update([Target.empty(image_id=k) for k in range(len(labels))], answers)
    return evaluator


def label_maps(wrong: float, seed: int, images: int = 40) -> SemanticEvaluator:
    """The evaluator of a model whose answers have such a share of wrong pixels."""
    truths = RNG(0).integers(0, 3, (images, 12, 12))
    content = {
        "images": [{"id": k} for k in range(images)],
        "categories": [{"id": k, "name": f"class {k}"} for k in range(3)],
        "annotations": [],
    }
    is_wrong = RNG(seed).random(truths.shape) < wrong
    answers = torch.from_numpy(np.where(is_wrong, (truths + 1) % 3, truths)).byte()
    evaluator = SemanticEvaluator(content)
    targets = [Target(label_map=torch.from_numpy(one).byte(), image_id=k) for k, one in enumerate(truths)]
    evaluator.update(targets, [SemanticMap(one) for one in answers])
    return evaluator


def test_label_maps_are_compared_by_the_sums_of_their_pixels():
    better, worse = label_maps(0.2, seed=1), label_maps(0.3, seed=2)
    comparison = compare(better, worse, samples=200, per_class=True)
    assert comparison.better == "A"
    assert comparison.head.difference == pytest.approx(better.compute()["mIoU"] - worse.compute()["mIoU"])
    assert list(comparison.by_class) == ["class 0", "class 1", "class 2"]
    assert compare(better, label_maps(0.2, seed=1), samples=20).is_equal
    assert compare(better, label_maps(0.2, seed=3), samples=200).better is None
    with pytest.raises(InputError, match="not the same"):
        compare(better, label_maps(0.2, seed=1, images=39))


@pytest.mark.parametrize("make", [None, VocEvaluator])
def test_one_run_is_equal_to_the_digit(make):
    truth = made_truth(RNG(0), 20, classes=3)
    kind = {} if make is None else {"make": make}
    found = made_detections(RNG(1), truth)
    comparison = compare(*(evaluator_of(truth, found, **kind) for _ in "AB"), samples=50, per_class=True)
    assert comparison.is_equal
    assert comparison.better is comparison.images_needed is None
    assert (comparison.head.difference, comparison.head.low, comparison.head.high) == (0, 0, 0)
    assert comparison.head.share == 1
    assert 0 < comparison.head.first < 1


def test_a_detection_more_is_not_equal():
    truth = made_truth(RNG(0), 20)
    found = made_detections(RNG(1), truth)
    comparison = compare(evaluator_of(truth, found), evaluator_of(truth, found[1:]), samples=50)
    assert not comparison.is_equal
    assert comparison.better is None


@pytest.mark.parametrize("make", [None, VocEvaluator])
def test_two_that_differ(make):
    truth = made_truth(RNG(0), 80, classes=2)
    kind = {} if make is None else {"make": make}
    worse = evaluator_of(truth, made_detections(RNG(1), truth, recall=0.6), **kind)
    better = evaluator_of(truth, made_detections(RNG(2), truth, recall=0.95), **kind)
    one, other = compare(worse, better, samples=200, per_class=True), compare(better, worse, samples=200)
    assert (one.better, other.better) == ("B", "A")
    assert one.head.low < one.head.difference < one.head.high < 0
    assert one.head.difference == pytest.approx(worse.compute()[one.headline] - better.compute()[one.headline])
    assert one.head.share == pytest.approx(1 / 201)
    assert (other.head.low, other.head.high) == pytest.approx((-one.head.high, -one.head.low))
    assert one.by_class.keys() == {"class 0", "class 1"}
    rows = worse.evaluation.per_class()
    assert {name: row["AP"].first for name, row in one.by_class.items()} == {
        name: pytest.approx(row["AP"]) for name, row in rows.items()
    }


def test_two_alike_do_not_differ():
    truth = made_truth(RNG(0), 80)
    pair = [evaluator_of(truth, made_detections(RNG(seed), truth)) for seed in (1, 2)]
    comparison = compare(*pair, samples=200)
    assert comparison.better is None
    assert not comparison.is_equal
    assert comparison.head.low < 0 < comparison.head.high
    assert comparison.images_needed > 80
    assert compare(*pair, samples=200) == comparison
    assert compare(*pair, samples=200, seed=1) != comparison


def test_pairing_cancels_what_is_hard_for_both():
    """Both miss the same objects: the interval is narrower than that of two independent detectors."""
    truth = made_truth(RNG(0), 80)
    found = made_detections(RNG(1), truth, recall=0.7, noise=1.0)
    shifted = [one | {"bbox": [one["bbox"][0] + 0.2, *one["bbox"][1:]]} for one in found]
    other = made_detections(RNG(2), truth, recall=0.7, noise=1.0)
    first = evaluator_of(truth, found)
    paired, independent = (compare(first, evaluator_of(truth, of), samples=200) for of in (shifted, other))
    assert paired.head.standard_error < independent.head.standard_error / 3


def test_interval_beside_scipys_paired_bootstrap():
    random = RNG(3)
    labels, (first, second) = random.integers(2, size=250), random.random((2, 250)) < [[0.8], [0.7]]
    head = compare(classifier(labels, first), classifier(labels, second), samples=4000).head
    scipys = stats.bootstrap(
        (first.astype(float), second.astype(float)),
        lambda one, other, axis: one.mean(axis=axis) - other.mean(axis=axis),
        paired=True, n_resamples=4000, method="percentile", rng=RNG(4),
    )  # fmt: skip
    assert head.difference == pytest.approx(first.mean() - second.mean())
    assert head.standard_error == pytest.approx(scipys.standard_error, rel=0.04)
    width = scipys.confidence_interval.high - scipys.confidence_interval.low
    assert [head.low, head.high] == pytest.approx(list(scipys.confidence_interval), abs=0.05 * width)


def _ap_of_copies(truth: dict, found: list[dict], drawn: np.ndarray) -> float:
    """pycocotools' AP of the data set in which each drawn image is a file of its own."""
    annotations, detections = [], []
    for copy, image in enumerate(drawn.tolist()):
        for entries, copies in ((truth["annotations"], annotations), (found, detections)):
            copies += [one | {"image_id": copy, "id": len(copies) + k + 1} for k, one in enumerate(
                [one for one in entries if one["image_id"] == image])]  # fmt: skip
    with redirect_stdout(None):
        coco = COCO()
        coco.dataset = truth | {"images": [{"id": k, "height": 100, "width": 100} for k in range(len(drawn))],
                                "annotations": annotations}  # fmt: skip
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(detections), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return float(evaluation.stats[0])


def test_interval_of_ap_beside_pycocotools_on_copied_images():
    """The bootstrap by hand: images are drawn, copied, and evaluated again."""
    truth = made_truth(RNG(0), 10, classes=2)
    pair = [made_detections(RNG(seed), truth, recall=recall) for seed, recall in ((1, 0.9), (2, 0.6))]
    head = compare(*(evaluator_of(truth, found) for found in pair), samples=12, seed=5).head
    random = RNG(5)
    drawn = [random.integers(10, size=10) for _ in range(12)]
    differences = [_ap_of_copies(truth, pair[0], one) - _ap_of_copies(truth, pair[1], one) for one in drawn]
    assert head.standard_error == pytest.approx(np.std(differences, ddof=1) * math.sqrt(10 / 9))
    assert head.difference - head.low == pytest.approx(stats.t.ppf(0.975, 9) * head.standard_error)


def test_standard_error_and_share_beside_mcnemars_by_hand():
    counts = [250, 60, 45, 45]  # images on which both are right, the first alone, the second alone, neither
    first, second = (np.repeat(right, counts) for right in ([True, True, False, False], [True, False, True, False]))
    labels = np.arange(400) % 2
    head = compare(classifier(labels, first), classifier(labels, second), samples=4000).head
    variance = (60 + 45 - (60 - 45) ** 2 / 400) / 399 / 400
    assert head.difference == pytest.approx(15 / 400)
    assert head.standard_error == pytest.approx(math.sqrt(variance), rel=0.03)
    # McNemar 1947: (b - c)² / (b + c) has a χ² distribution with one degree of freedom.
    p = stats.chi2.sf((60 - 45) ** 2 / (60 + 45), 1)
    assert p == pytest.approx(0.143, abs=1e-3)
    assert head.share == pytest.approx(p, abs=0.02)


def test_of_an_error_the_lower_is_better():
    comparison = compare(*(error_evaluator(RNG(seed).random(50) + shift) for seed, shift in ((1, 0), (2, 2))))
    assert comparison.better == "A"
    assert comparison.head.high < 0
    small = compare(*(error_evaluator(RNG(seed).random(50) / 100 + shift) for seed, shift in ((1, 0.042), (2, 0.3))))
    assert str(small).startswith("A is better by 0.258 error [0.25")
    assert ": 0.047 against 0.305 over 50 images" in str(small)  # in its own unit, not times 100


def test_a_metric_that_is_no_share_is_shown_as_it_is():
    def mixed(seed):
        evaluator = error_evaluator(RNG(seed).random(50))
        evaluator.scale, evaluator.unscaled = 100.0, frozenset({"length"})
        evaluator.more = {"length": 7 + RNG(seed).random(50)}
        return evaluator

    comparison = compare(mixed(1), mixed(2), samples=50)
    assert comparison.scale == 100
    assert comparison.scales == {"length": 1.0}
    names, first = (list(column.cells) for column in comparison_table(comparison).columns[:2])
    assert names == ["error", "length"]
    assert first == [f"{100 * comparison.head.first:.1f}", f"{comparison.numbers['length'].first:.3f}"]


def test_one_image_has_no_interval():
    comparison = compare(error_evaluator(np.array([1.0])), error_evaluator(np.array([2.0])))
    assert math.isnan(comparison.head.low)
    assert comparison.better is comparison.images_needed is None
    assert not comparison.is_equal


@pytest.mark.parametrize(
    ("options", "sentence"),
    [({"samples": 1}, "samples must be at least 2"), ({"confidence": 1.0}, "confidence must be between 0 and 1")],
)
def test_arguments_out_of_range(options, sentence):
    truth = made_truth(RNG(0), 2)
    with pytest.raises(InputError, match=sentence):
        compare(evaluator_of(truth, []), evaluator_of(truth, []), **options)


def test_other_evaluators_are_refused():
    truth = made_truth(RNG(0), 2)
    with pytest.raises(InputError, match=r"A is evaluated by bbox \(AP\), B by voc2010 \(mAP\)"):
        compare(evaluator_of(truth, []), evaluator_of(truth, [], VocEvaluator))


def test_a_weighting_without_the_headline():
    one = error_evaluator(np.zeros(3))
    one.headline = "AP"
    with pytest.raises(InputError, match=r"image_weighting\(\) gives error, but not its headline AP"):
        compare(one, one, samples=2)


class ErrorEvaluator(Evaluator):
    """An evaluator of a user's own, of which a lower number is better."""

    name, reads, headline, higher_is_better = "error", "boxes", "error", False
    more: ClassVar[dict] = {}

    def keep(self, target, answer):
        return answer

    def evaluate(self):
        return Evaluation({"error": float(self.values.mean())})

    def image_weighting(self):
        images = np.arange(len(self.values))
        data = MeasuredData("mine", images.tolist(), ["all"], images, np.zeros_like(images), np.zeros((len(images), 0)))
        return ImageMeans(data, {"error": self.values, **self.more})


def error_evaluator(values: np.ndarray) -> ErrorEvaluator:
    evaluator = ErrorEvaluator({})
    evaluator.values = values
    return evaluator
