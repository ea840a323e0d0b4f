import copy

import numpy as np
import pytest
from test_tide import _annotations, _detections, _random_case

from detkit.errors import InputError
from detkit.evaluation import bootstrap, evaluate_detections_file
from detkit.evaluation.coco.bootstrap import Interval, resample


class FixedDraws:
    """In place of a random generator: the images of the only sample."""

    def __init__(self, draws):
        self.draws = draws

    def integers(self, high, size):
        assert (high, size) == (8, 8)
        return self.draws


@pytest.mark.parametrize("seed", range(5))
def test_a_sample_is_the_data_set_with_images_repeated_and_left_out(seed, monkeypatch):
    annotations, detections = _random_case(seed)
    draws = np.random.default_rng(seed).integers(8, size=8)
    repeated = copy.deepcopy(annotations) | {"images": [], "annotations": []}
    repeated_found = []
    for image, source in enumerate(draws.tolist()):
        repeated["images"].append({**annotations["images"][source], "id": image})
        for entry in annotations["annotations"]:
            if entry["image_id"] == source:
                number = len(repeated["annotations"]) + 1
                repeated["annotations"].append({**entry, "image_id": image, "id": number})
        repeated_found += [{**entry, "image_id": image} for entry in detections if entry["image_id"] == source]
    expected = evaluate_detections_file(repeated, repeated_found).metrics
    monkeypatch.setattr(np.random, "default_rng", lambda seed: FixedDraws(draws))
    (drawn,) = resample(evaluate_detections_file(annotations, detections), samples=1)
    assert drawn.tolist() == pytest.approx(list(expected.values()), abs=1e-9)


def test_intervals_hold_the_number_and_narrow_with_the_images():
    evaluation = evaluate_detections_file(*_random_case(1))
    intervals = bootstrap(evaluation, samples=200)
    assert intervals == bootstrap(evaluation, samples=200)
    assert intervals != bootstrap(evaluation, samples=200, seed=1)
    assert intervals["AP"].low < evaluation.metrics["AP"] < intervals["AP"].high
    narrow, wide = (bootstrap(evaluation, 200, confidence) for confidence in (0.5, 0.99))
    assert wide["AP"].low < narrow["AP"].low < narrow["AP"].high < wide["AP"].high


@pytest.mark.parametrize("images", [1, 2, 5, 30])
def test_intervals_hold_the_number_of_small_data_with_many_classes(images):
    """There the mean of the samples is far above the number, since images that are drawn twice raise the precision."""
    random = np.random.default_rng(images)
    content = _annotations(images=images) | {
        "annotations": [],
        "categories": [{"id": k, "name": str(k)} for k in range(12)],
    }
    detections = []
    for number in range(4 * images):
        box, image, category = [int(random.integers(60)), 5, 20, 20], number % images, int(random.integers(12))
        content["annotations"].append({"id": number, "image_id": image, "category_id": category, "bbox": box})
        for category_id in (category, int(random.integers(12))):
            detections.append(
                {"image_id": image, "category_id": category_id, "bbox": box, "score": float(random.random())}
            )
    evaluation = evaluate_detections_file(content, detections)
    drawn = resample(evaluation, 100)
    if images > 2:
        assert np.median(drawn[:, 0]) > evaluation.metrics["AP"]
    for name, (low, high) in bootstrap(evaluation, 100).items():
        assert low <= evaluation.metrics[name] <= high
        assert 0 <= low <= high <= 1 or (low, high) == (-1, -1)


@pytest.mark.slow
def test_nine_of_ten_intervals_of_95_percent_hold_the_true_number():
    """Images of one class, in which a share of 0.6 of the objects is detected: the recall at IoU 0.5 of all is 0.6."""
    random, held = np.random.default_rng(0), 0
    for _ in range(200):
        content, detections = _annotations(images=40) | {"annotations": []}, []
        for image in range(40):
            box = {"image_id": image, "category_id": 1, "bbox": [5, 5, 50, 50]}
            content["annotations"].append(box | {"id": image})
            detections += [box | {"score": float(random.random())}] if random.random() < 0.6 else []
        low, high = bootstrap(evaluate_detections_file(content, detections), 200)["AR100"]
        held += low <= 0.6 <= high
    assert 180 <= held <= 198


def test_numbers_without_objects_have_no_interval():
    evaluation = evaluate_detections_file(
        _annotations((0, 1, 0, 0, 200, 200)), _detections((0, 1, 0.5, 0, 0, 200, 200))
    )
    intervals = bootstrap(evaluation, samples=10)
    assert intervals["APs"] == Interval(-1, -1)
    assert intervals["AP"] == pytest.approx((1, 1))
    nothing = evaluate_detections_file(_annotations(images=0), [])
    assert set(bootstrap(nothing, samples=2).values()) == {Interval(-1, -1)}


@pytest.mark.parametrize(("options", "word"), [({"samples": 1}, "samples"), ({"confidence": 1.0}, "confidence")])
def test_wrong_options_are_named(options, word):
    with pytest.raises(InputError, match=word):
        bootstrap(evaluate_detections_file(*_random_case(0)), **options)
