"""Each wrong detection has one cause, and fixing a cause gains what TIDE's definitions say."""

import numpy as np
import pytest
from pycocotools import mask as coco_masks

from detkit.errors import InputError
from detkit.evaluation import analyze_errors, evaluate_detections_file
from detkit.evaluation.coco.tide import ERROR_KINDS

SIZE = {"width": 400, "height": 400}


def _annotations(*objects, images=1, classes=3):
    """COCO's annotations of objects ``(image, class, x, y, width, height)``, those with a seventh number crowds."""
    annotations = [
        {
            "id": number + 1,
            "image_id": image,
            "category_id": label,
            "bbox": list(box[:4]),
            "area": box[2] * box[3],
            "iscrowd": int(len(box) > 4),
            "segmentation": [[box[0], box[1], box[0] + box[2], box[1], box[0] + box[2], box[1] + box[3],
                              box[0], box[1] + box[3]]],
        }
        for number, (image, label, *box) in enumerate(objects)
    ]  # fmt: skip
    return {
        "images": [{"id": image, "file_name": f"{image}.png", **SIZE} for image in range(images)],
        "categories": [{"id": label, "name": f"class {label}"} for label in range(classes)],
        "annotations": annotations,
    }


def _detections(*detections):
    return [
        {"image_id": image, "category_id": label, "score": score, "bbox": list(box)}
        for image, label, score, *box in detections
    ]


def _analyze(annotations, detections, iou_type="bbox"):
    return analyze_errors(evaluate_detections_file(annotations, detections, iou_type))


OBJECT = (0, 1, 100, 100, 100, 100)
CASES = {
    "classification": (0, 2, 0.9, 100, 100, 100, 100),
    "localization": (0, 1, 0.9, 160, 100, 100, 100),  # IoU 40 / 160
    "both": (0, 2, 0.9, 160, 100, 100, 100),
    "background": (0, 1, 0.9, 300, 300, 50, 50),
}


@pytest.mark.parametrize("kind", CASES)
def test_each_wrong_detection_has_its_cause(kind):
    errors = _analyze(_annotations(OBJECT, (0, 2, 0, 0, 50, 50)), _detections(CASES[kind]))
    assert {name for name in ERROR_KINDS if errors.count[name]} == {kind}
    assert errors.count["false_positives"] == 1
    assert errors.count["false_negatives"] == 2
    # An error of class or location can be moved onto the object, which is not missed then; the other one is.
    assert errors.count["missed"] == (1 if kind in ("classification", "localization") else 2)


def test_a_duplicate_is_the_second_detection_of_an_object():
    correct = (0, 1, 0.8, 100, 100, 100, 100)
    errors = _analyze(_annotations(OBJECT), _detections(correct, (0, 1, 0.7, 105, 100, 100, 100)))
    assert errors.count["duplicate"] == errors.count["false_positives"] == 1
    assert errors.count["missed"] == 0
    assert errors.ap == pytest.approx(1)
    assert errors.cost["duplicate"] == 0


def test_costs_worked_by_hand():
    """Class 1 has two objects; the detections, best first: background, the first object, beside the second."""
    objects = (OBJECT, (0, 1, 250, 250, 100, 100))
    detections = _detections(
        (0, 1, 0.9, 0, 0, 40, 40), (0, 1, 0.8, 100, 100, 100, 100), (0, 1, 0.7, 310, 250, 100, 100)
    )  # fmt: skip
    errors = _analyze(_annotations(*objects), detections)
    # Recall 1/2 at precision 1/2: 51 of the 101 recalls.
    ap = 51 / 101 / 2
    assert errors.ap == pytest.approx(ap)
    assert errors.cost["background"] == pytest.approx(51 / 101 - ap)
    # The third detection is correct then: precisions 1/2 and 2/3, of which the greater holds for all recalls.
    assert errors.cost["localization"] == pytest.approx(2 / 3 - ap)
    assert errors.cost["false_positives"] == pytest.approx(51 / 101 - ap)
    assert errors.cost["false_negatives"] == pytest.approx(1 / 2 - ap)
    assert errors.cost["missed"] == errors.cost["classification"] == errors.cost["both"] == 0


def test_of_errors_with_one_object_the_highest_scoring_is_fixed():
    detections = _detections((0, 1, 0.9, 160, 100, 100, 100), (0, 1, 0.8, 160, 100, 100, 100))
    errors = _analyze(_annotations(OBJECT), detections)
    assert errors.count["localization"] == 2
    assert errors.ap + errors.cost["localization"] == pytest.approx(1.0)


def test_an_error_is_not_fixed_onto_a_detected_object():
    correct, wrong_class = (0, 1, 0.5, 100, 100, 100, 100), (0, 2, 0.9, 100, 100, 100, 100)
    annotations = _annotations(OBJECT, (0, 2, 250, 250, 100, 100))
    errors = _analyze(annotations, _detections(correct, wrong_class, (0, 2, 0.4, 250, 250, 100, 100)))
    # Removed, not a second find: class 2 rises from precision 1/2 to 1.
    assert errors.cost["classification"] == pytest.approx(1 - (1 + 1 / 2) / 2)


def test_crowds_are_no_errors():
    annotations = _annotations(OBJECT, (0, 1, 200, 200, 100, 100, "crowd"))
    errors = _analyze(annotations, _detections((0, 1, 0.9, 210, 210, 20, 20), (0, 1, 0.8, 100, 100, 100, 100)))
    assert errors.ap == pytest.approx(1)
    assert errors.count == dict.fromkeys(errors.count, 0)


@pytest.mark.parametrize("detections", [[], _detections((1, 1, 0.9, 1, 1, 9, 9))], ids=["none", "elsewhere"])
def test_without_detections_or_objects(detections):
    errors = _analyze(_annotations(OBJECT, images=2), detections)
    assert errors.count["missed"] == 1
    assert errors.ap == 0
    nothing = _analyze(_annotations(images=2), detections)
    assert nothing.ap == -1
    assert nothing.cost == dict.fromkeys(nothing.cost, 0)


def _random_case(seed):
    random = np.random.default_rng(seed)
    objects, detections = [], []
    for image in range(8):
        for _ in range(random.integers(0, 6)):
            box, label = [*random.uniform(0, 250, 2), *random.uniform(20, 120, 2)], int(random.integers(3))
            objects.append((image, label, *box))
            for _ in range(random.integers(0, 4)):
                moved = box + random.normal(0, random.choice([4, 25]), 4)
                label = label if random.random() < 0.7 else int(random.integers(3))
                detections.append((image, label, float(random.random()), *moved[:2], *np.maximum(moved[2:], 2)))
    return _annotations(*objects, images=8), _detections(*detections)


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("pairs_per_chunk", [10, 2**22])
def test_every_error_is_counted_once(seed, pairs_per_chunk, monkeypatch):
    monkeypatch.setattr("detkit.evaluation.coco.object_assignment._PAIRS_PER_CHUNK", pairs_per_chunk)
    annotations, detections = _random_case(seed)
    evaluation = evaluate_detections_file(annotations, detections)
    errors = analyze_errors(evaluation)
    assert errors.ap == pytest.approx(evaluation.metrics["AP50"], abs=1e-12)
    assert sum(errors.count[name] for name in ERROR_KINDS) == errors.count["false_positives"]
    correct = len(detections) - errors.count["false_positives"]
    assert errors.count["false_negatives"] == len(annotations["annotations"]) - correct
    assert all(cost >= -1e-12 for cost in errors.cost.values())
    assert max(errors.cost["both"], errors.cost["duplicate"], errors.cost["background"]) <= (
        errors.cost["false_positives"] + 1e-12
    )


@pytest.mark.parametrize("seed", range(3))
def test_masks_that_fill_their_boxes_err_as_these_do(seed):
    annotations, detections = _random_case(seed)
    for entry in (*annotations["annotations"], *detections):
        x, y, width, height = np.round(entry["bbox"]).astype(int).tolist()
        x, y = max(x, 0), max(y, 0)
        entry["bbox"] = [x, y, max(min(width, 400 - x), 1), max(min(height, 400 - y), 1)]
        x, y, width, height = entry["bbox"]
        entry["segmentation"] = [[x, y, x + width, y, x + width, y + height, x, y + height]]
    for entry in detections:
        encoded = coco_masks.frPyObjects(entry["segmentation"], 400, 400)[0]
        entry["segmentation"] = {"size": encoded["size"], "counts": encoded["counts"].decode()}
    boxes, masks = _analyze(annotations, detections), _analyze(annotations, detections, "segm")
    assert boxes.count == masks.count
    assert boxes.cost == pytest.approx(masks.cost)


def test_keypoints_are_refused():
    evaluation = evaluate_detections_file(
        {**_annotations(OBJECT), "annotations": []}, [], "keypoints", keypoint_sigmas=[0.1]
    )
    with pytest.raises(InputError, match="boxes and masks"):
        analyze_errors(evaluation)
