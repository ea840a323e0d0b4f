"""Weighted images give the numbers of the data set in which images are repeated and left out."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from scipy import stats

from detkit.errors import InputError
from detkit.evaluation import (
    ClassificationEvaluator,
    CocoEvaluator,
    Evaluation,
    Evaluator,
    ImageMeans,
    LocalizationEvaluator,
    MeasuredData,
    ProposalRecall,
    VocEvaluator,
)
from detkit.evaluation.weighting.intervals import weighted_intervals
from detkit.structures import Detections, Target

IMAGES = 9
WEIGHTS = [np.random.default_rng(seed).multinomial(IMAGES, [1 / IMAGES] * IMAGES) for seed in range(4)]
DETECTORS = {
    "bbox": CocoEvaluator,
    "voc2007": lambda truth: VocEvaluator(truth, "voc2007"),
    "voc2010": lambda truth: VocEvaluator(truth, "voc2010", iou_threshold=0.6),
    "classification": ClassificationEvaluator,
    "localization": LocalizationEvaluator,
    "proposals": lambda truth: ProposalRecall(truth, limits=(2, 5)),
}


def world() -> tuple[dict, list[Detections]]:
    """Images of three classes, each with objects of its class and others, and detections near them."""
    random = np.random.default_rng(5)
    images, annotations, answers = [], [], []
    for number in range(IMAGES):
        images.append({"id": number, "height": 100, "width": 100, "category_id": number % 3 + 1})
        corners, sizes = random.uniform(0, 50, (4, 2)), random.uniform(10, 45, (4, 2))
        labels = [number % 3, number % 3, *random.integers(3, size=2).tolist()]
        for row, label in enumerate(labels):
            annotations.append({
                "id": len(annotations) + 1, "image_id": number, "category_id": label + 1, "area": sizes[row].prod(),
                "bbox": [*corners[row].tolist(), *sizes[row].tolist()], "iscrowd": int(row == 3 and number == 4),
            })  # fmt: skip
        near = np.concatenate([corners, corners + sizes], axis=1) + random.normal(0, 3, (4, 4))
        found = [label if random.random() < 0.7 else (label + 1) % 3 for label in labels]
        scores = np.sort(random.random(4))[::-1].copy()
        answers.append(Detections(torch.tensor(near).float(), torch.tensor(scores).float(), torch.tensor(found)))
    categories = [{"id": k + 1, "name": f"class {k}"} for k in range(3)]
    return {"images": images, "annotations": annotations, "categories": categories}, answers


def repeated(content: dict, answers: list[Detections], weights: np.ndarray) -> tuple[dict, list[Detections]]:
    """The data set that weights stand for, written out."""
    copied = copy.deepcopy(content) | {"images": [], "annotations": []}
    again = []
    for source in np.repeat(np.arange(IMAGES), weights).tolist():
        image = len(again)
        copied["images"].append(content["images"][source] | {"id": image})
        for one in content["annotations"]:
            if one["image_id"] == source:
                copied["annotations"].append(one | {"id": len(copied["annotations"]) + 1, "image_id": image})
        again.append(answers[source])
    return copied, again


def filled(make, content: dict, answers: list[Detections]) -> Evaluator:
    evaluator = make(content)
    given = [one.boxes for one in answers] if isinstance(evaluator, ProposalRecall) else answers
    evaluator.update([Target.empty(image_id=image["id"]) for image in content["images"]], given)
    return evaluator


@pytest.mark.parametrize("name", DETECTORS)
@pytest.mark.parametrize("weights", WEIGHTS, ids=range(len(WEIGHTS)))
def test_as_if_images_were_repeated(name, weights):
    content, answers = world()
    weighted = filled(DETECTORS[name], content, answers).image_weighting().numbers(weights.astype(float), by_class=True)
    evaluator = filled(DETECTORS[name], *repeated(content, answers, weights))
    evaluator.compute()
    metrics = evaluator.evaluation.metrics
    assert weighted.of_all == pytest.approx({key: metrics[key] for key in weighted.of_all}, abs=1e-9)
    assert evaluator.headline in weighted.of_all
    assert len(set(weighted.of_all.values())) > 1 or name.startswith("voc")
    rows = evaluator.evaluation.per_class()
    for key in {"AP", "AP50", "AR100", "top1", "localization_error"} & weighted.by_class.keys():
        expected = [rows[f"class {k}"][key] for k in range(3)]
        assert weighted.by_class[key].tolist() == pytest.approx(expected, abs=1e-9)
    assert weighted.by_class or name == "proposals"


@pytest.mark.parametrize("iou_type", ["bbox", "segm", "keypoints"])
def test_once_each_is_coco_itself(iou_type, make_problem):
    problem = make_problem(3)
    evaluator = CocoEvaluator(problem.annotations, iou_type)
    with pytest.warns(DeprecationWarning, match="image_ids"):
        evaluator.update(problem.image_ids, problem.detections)
    weighted = evaluator.image_weighting()
    numbers = weighted.numbers(np.ones(len(weighted.data.image_ids)), by_class=True)
    assert numbers.of_all == pytest.approx(evaluator.compute(), abs=1e-12)
    for k, row in enumerate(evaluator.evaluation.per_class().values()):
        for name in evaluator.evaluation.class_metrics:
            assert numbers.by_class[name][k] == pytest.approx(row[name], abs=1e-12)


def test_an_evaluator_of_your_own_says_what_it_lacks():
    class Mine(Evaluator):
        name = reads = headline = "mine"

        def keep(self, target, answer):
            return answer

        def evaluate(self):
            return Evaluation({"mine": 0.0})

    with pytest.raises(InputError, match=r"Mine cannot weight images.*image_weighting\(\).*ImageMeans"):
        Mine({}).image_weighting()


@pytest.mark.parametrize("seed", [0, 1, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")])
def test_the_interval_of_a_length_is_students_of_its_mean(seed):
    lengths = np.random.default_rng(seed).gamma(3, 20, 40)
    data = MeasuredData("x", list(range(40)), [], np.arange(40), np.zeros(40, dtype=np.int64), np.zeros((40, 0)))
    intervals = weighted_intervals(ImageMeans(data, {"length": lengths}), samples=4000, unscaled={"length"})
    expected = stats.t.interval(0.95, 39, lengths.mean(), lengths.std(ddof=1) / 40**0.5)
    assert intervals["length"] == pytest.approx(expected, abs=0.03 * (expected[1] - expected[0]))


def test_no_objects_are_refused():
    content, _ = world()
    for make in (CocoEvaluator, VocEvaluator, ProposalRecall):
        with pytest.raises(InputError, match="no objects to detect"):
            make(content | {"annotations": []}).image_weighting()
    with pytest.raises(InputError, match="no images"):
        ClassificationEvaluator(content | {"annotations": [], "images": []}).image_weighting()


def test_before_the_first_answer_it_is_silent(caplog):
    """Data is compared before a model runs."""
    content, _ = world()
    for name, make in DETECTORS.items():
        if name != "proposals":
            assert make(content).image_weighting().numbers(np.ones(IMAGES)).of_all
    assert caplog.messages == []


def test_means_of_images_and_classes():
    data = MeasuredData("x", [1, 2, 3], ["a", "b", "c"], np.arange(3), np.array([0, 0, 1]), np.zeros((3, 0)))
    means = ImageMeans(data, {"error": np.array([1, 3, 10])}, data.labels)
    numbers = means.numbers(np.array([1.0, 3.0, 0.0]), by_class=True)
    assert numbers.of_all == {"error": 2.5}
    assert numbers.by_class["error"].tolist() == [2.5, -1, -1]
    assert means.numbers(np.zeros(3)).of_all == {"error": -1}
    assert ImageMeans(data, {"error": np.zeros(3)}).numbers(np.ones(3), by_class=True).by_class == {}
