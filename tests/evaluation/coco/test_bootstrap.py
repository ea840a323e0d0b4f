import copy

import numpy as np
import pytest
from test_tide import _annotations, _detections, _random_case

from detkit.errors import InputError
from detkit.evaluation import bootstrap, evaluate_detections_file
from detkit.evaluation.coco.bootstrap import Interval


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
    intervals = bootstrap(evaluate_detections_file(annotations, detections), samples=2)
    for name, value in expected.items():
        assert intervals[name] == pytest.approx((value, value), abs=1e-9), name


def test_intervals_hold_the_number_and_narrow_with_the_images():
    evaluation = evaluate_detections_file(*_random_case(1))
    intervals = bootstrap(evaluation, samples=200)
    assert intervals == bootstrap(evaluation, samples=200)
    assert intervals != bootstrap(evaluation, samples=200, seed=1)
    assert intervals["AP"].low < evaluation.metrics["AP"] < intervals["AP"].high
    narrow, wide = (bootstrap(evaluation, 200, confidence) for confidence in (0.5, 0.99))
    assert wide["AP"].low < narrow["AP"].low < narrow["AP"].high < wide["AP"].high


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
