"""PASCAL VOC's evaluation beside a program written from the development kit's definition, one detection at a time."""

import json
import math

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.evaluation import VocEvaluator, voc_table
from detkit.evaluation.voc_evaluator import all_point_average, eleven_point_average
from detkit.structures import Category, Detections

CATEGORIES = [Category(4, "cat"), Category(9, "dog"), Category(12, "never seen")]


def kit_average_precision(objects: dict, results: list, protocol: str, minimum: float = 0.5) -> float | None:
    """VOCevaldet and VOCap of one class, in VOC's pixels.

    Args:
        objects: by image, a list of (xmin, ymin, xmax, ymax, difficult), corners inclusive and counted from 1.
        results: (image, confidence, xmin, ymin, xmax, ymax) of each line of the results file.
    """
    positives = sum(not difficult for listed in objects.values() for *_, difficult in listed)
    if positives == 0:
        return None
    result = {image: [False] * len(listed) for image, listed in objects.items()}
    true, false = 0, 0
    recall, precision = [], []
    for image, _, *box in sorted(results, key=lambda line: -line[1]):
        best, chosen = -math.inf, None
        for number, (*other, _) in enumerate(objects[image]):
            width = min(box[2], other[2]) - max(box[0], other[0]) + 1
            height = min(box[3], other[3]) - max(box[1], other[1]) + 1
            if width > 0 and height > 0:
                areas = [(one[2] - one[0] + 1) * (one[3] - one[1] + 1) for one in (box, other)]
                overlap = width * height / (sum(areas) - width * height)
                if overlap > best:
                    best, chosen = overlap, number
        if best >= minimum:
            if not objects[image][chosen][4]:
                if not result[image][chosen]:
                    true += 1
                    result[image][chosen] = True
                else:
                    false += 1
        else:
            false += 1
        recall.append(true / positives)
        precision.append(true / (true + false) if true + false else 0.0)
    if protocol == "voc2007":
        total = 0.0
        for step in range(11):
            total += max((p for r, p in zip(recall, precision, strict=True) if r >= step * 0.1), default=0.0) / 11
        return total
    recall, precision = [0.0, *recall, 1.0], [0.0, *precision, 0.0]
    for position in range(len(precision) - 2, -1, -1):
        precision[position] = max(precision[position], precision[position + 1])
    steps = [i for i in range(1, len(recall)) if recall[i] != recall[i - 1]]
    return sum((recall[i] - recall[i - 1]) * precision[i] for i in steps)


def random_problem(random: np.random.Generator) -> tuple[dict, dict]:
    """Objects and results of each class in VOC's pixels: few places and scores, so that ties abound."""
    images = [f"{number:03d}" for number in range(random.integers(1, 5))]
    step = random.choice([1.0, 0.25])
    objects, results = {}, {}
    for category in CATEGORIES[:2]:
        objects[category.name], results[category.name] = {}, []
        for image in images:
            listed = [(*random_box(random, step), random.random() < 0.3) for _ in range(random.integers(0, 4))]
            if listed and random.random() < 0.2:
                listed.append(listed[0])
            objects[category.name][image] = listed
            for _ in range(random.integers(0, 7)):
                near = listed and random.random() < 0.6
                box = listed[random.integers(len(listed))][:4] if near else random_box(random, step)
                if near and random.random() < 0.7:
                    box = (box[0], box[1], box[2] + step * random.integers(0, 6), box[3])
                results[category.name].append((image, random.integers(0, 5) / 4, *box))
    return objects, results


def random_box(random: np.random.Generator, step: float) -> tuple[float, ...]:
    x, y = 1 + step * random.integers(0, 12, 2)
    width, height = step * random.integers(0, 12, 2)
    return float(x), float(y), float(x + width), float(y + height)


def as_coco(objects: dict) -> dict:
    images = sorted({image for of_class in objects.values() for image in of_class})
    annotations = []
    for category in CATEGORIES[:2]:
        for image, listed in objects[category.name].items():
            for xmin, ymin, xmax, ymax, difficult in listed:
                box = [xmin - 1, ymin - 1, xmax - xmin + 1, ymax - ymin + 1]
                entry = {"image_id": image, "category_id": category.id, "bbox": box, "difficult": int(difficult)}
                annotations.append(entry)
    return {
        "images": [{"id": image} for image in images],
        "annotations": annotations,
        "categories": [vars(category) for category in CATEGORIES],
    }


def as_detections(results: dict, image: str) -> Detections:
    """Of one image, both classes; the order within a class is that of the results."""
    lines = [(label, line) for label, c in enumerate(CATEGORIES[:2]) for line in results[c.name] if line[0] == image]
    boxes = [[line[2] - 1, line[3] - 1, line[4], line[5]] for _, line in lines]
    return Detections(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor([line[1] for _, line in lines], dtype=torch.float32),
        torch.tensor([label for label, _ in lines], dtype=torch.int64),
    )


@pytest.mark.parametrize("protocol", ["voc2007", "voc2010"])
@pytest.mark.parametrize("seed", range(8))
def test_equals_the_kit(protocol: str, seed: int):
    random = np.random.default_rng([seed, 11])
    measured = 0
    for _ in range(250):
        objects, results = random_problem(random)
        truth = as_coco(objects)
        evaluator = VocEvaluator(truth, protocol, categories=CATEGORIES)
        images = [image["id"] for image in truth["images"]]
        for image in random.permutation(images).tolist():
            evaluator.update([image], [as_detections(results, image)])
        expected = {
            c.name: kit_average_precision(objects[c.name], results[c.name], protocol) for c in CATEGORIES[:2]
        } | {"never seen": None}
        numbers = evaluator.compute()
        for name, value in expected.items():
            assert numbers[f"AP/{name}"] == pytest.approx(-1 if value is None else value, abs=1e-12)
        values = [value for value in expected.values() if value is not None]
        assert numbers["mAP"] == pytest.approx(np.mean(values) if values else -1, abs=1e-12)
        measured += len([value for value in values if 0 < value < 1])
    assert measured > 100


def one_object(difficult: int = 0, **more) -> dict:
    return {
        "images": [{"id": 1}, {"id": 2}],
        "annotations": [{"image_id": 1, "category_id": 1, "bbox": [0, 0, 10, 10], "difficult": difficult, **more}],
        "categories": [{"id": 1, "name": "cat"}],
    }


def found(*boxes_and_scores: tuple[list[float], float]) -> Detections:
    boxes = torch.tensor([box for box, _ in boxes_and_scores]).reshape(-1, 4)
    scores = torch.tensor([score for _, score in boxes_and_scores])
    return Detections(boxes.float(), scores, torch.zeros(len(boxes), dtype=torch.int64))


def test_a_second_hit_is_wrong_and_an_iou_of_a_half_is_enough():
    evaluator = VocEvaluator(one_object())
    evaluator.update([1], [found(([0, 0, 10, 5], 0.9))])
    assert evaluator.compute() == {"mAP": 1, "AP/cat": 1}
    evaluator.update([1], [found(([0, 0, 10, 4.99], 0.9), ([0, 0, 10, 10], 0.8), ([0, 0, 10, 10], 0.7))])
    assert evaluator.compute()["mAP"] == 0.5
    np.testing.assert_allclose(evaluator.evaluate().precision[0], [0, 1 / 2, 1 / 3])
    np.testing.assert_allclose(evaluator.evaluate().recall[0], [0, 1, 1])


@pytest.mark.parametrize("ignored", [{"difficult": 1}, {"iscrowd": 1}])
def test_difficult_objects_and_crowds_count_neither_way(ignored: dict):
    truth = one_object(**ignored)
    evaluator = VocEvaluator(truth)
    evaluator.update([1], [found(([0, 0, 10, 10], 0.9))])
    assert evaluator.compute()["mAP"] == -1
    truth["annotations"].append({"image_id": 2, "category_id": 1, "bbox": [0, 0, 10, 10]})
    evaluator = VocEvaluator(truth)
    evaluator.update([1, 2], [found(([0, 0, 10, 10], 0.9), ([0, 0, 10, 10], 0.8)), found(([0, 0, 10, 10], 0.1))])
    assert evaluator.compute()["mAP"] == 1
    assert evaluator.evaluate().per_class() == {"cat": {"AP": 1, "objects": 1, "difficult": 1, "images": 1}}


def test_nothing_found_nothing_there_and_no_images():
    assert VocEvaluator(one_object()).compute() == {"mAP": 0, "AP/cat": 0}
    evaluator = VocEvaluator({"images": [], "annotations": [], "categories": []})
    assert evaluator.compute() == {"mAP": -1}
    evaluator = VocEvaluator(one_object() | {"annotations": []})
    evaluator.update([2], [found(([0, 0, 1, 1], 1.0))])
    assert evaluator.compute()["mAP"] == -1


def test_every_detection_counts():
    """COCO's limit of 100 is not VOC's."""
    evaluator = VocEvaluator(one_object())
    evaluator.update([1], [found(*[([20, 20, 30, 30], 0.9)] * 200, ([0, 0, 10, 10], 0.1))])
    assert evaluator.compute()["mAP"] == pytest.approx(1 / 201)


def test_points_of_recall():
    recall, precision = np.array([0.5, 0.5, 1.0]), np.array([1.0, 0.5, 2 / 3])
    assert eleven_point_average(recall, precision) == pytest.approx((6 * 1 + 5 * 2 / 3) / 11)
    assert all_point_average(recall, precision) == pytest.approx(0.5 + 0.5 * 2 / 3)
    assert eleven_point_average(np.zeros(0), np.zeros(0)) == all_point_average(np.zeros(0), np.zeros(0)) == 0


def test_from_a_file_and_from_parts(tmp_path):
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(one_object(difficult=1, area=100)))
    assert VocEvaluator(path).evaluate().difficult.tolist() == [1]
    path.write_text(json.dumps(one_object(area=100)))
    evaluator, other = VocEvaluator(path), VocEvaluator(path)
    other.update([1], [found(([0, 0, 10, 10], 0.9))])
    evaluator.merge([other.state()])
    assert evaluator.compute()["mAP"] == 1
    evaluator.reset()
    assert evaluator.compute()["mAP"] == 0
    assert voc_table(evaluator.evaluate()).row_count == 2


def test_wrong_choices_are_explained():
    with pytest.raises(InputError, match="voc2007, voc2010"):
        VocEvaluator(one_object(), "voc2012")
    with pytest.raises(InputError, match="iou_threshold is 0"):
        VocEvaluator(one_object(), iou_threshold=0)
    with pytest.raises(InputError, match="image id 7"):
        VocEvaluator(one_object()).update([7], [Detections.empty()])
