"""Whole images: top-1, top-5, confusion and localization error against their definitions, written as loops."""

import json

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.evaluation import (
    ClassificationEvaluator,
    LocalizationEvaluator,
    confusion_table,
    image_class_table,
    image_table,
    write_confusion,
    write_metrics,
)
from detkit.structures import Category, Classification, Detections

CLASSES = 8
IMAGES = 60


def _iou(one, other):
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    shared = width * height
    return shared / (sum(areas) - shared)


def _world(seed, answers=5):
    """Ground truth and answers that are often near it, of images that may have several objects and other crowds."""
    random = np.random.default_rng(seed)
    categories = [{"id": 10 * k + 3, "name": f"class {k}"} for k in range(CLASSES)]
    images, annotations, result = [], [], []
    for number in range(IMAGES):
        label = int(random.integers(CLASSES))
        images.append({"id": f"{number}.jpg", "height": 100, "width": 100, "category_id": categories[label]["id"]})
        corners = random.uniform(0, 60, (random.integers(1, 4), 2))
        boxes = np.concatenate([corners, random.uniform(10, 40, corners.shape)], axis=1).round(2)
        annotations += [
            {"image_id": f"{number}.jpg", "category_id": categories[label]["id"], "bbox": box} for box in boxes.tolist()
        ]
        other = categories[(label + 1) % CLASSES]["id"]
        annotations.append({"image_id": f"{number}.jpg", "category_id": other, "bbox": [0, 0, 50, 50]})
        labels = random.permutation(CLASSES)[:answers]
        if random.random() < 0.6 and label not in labels:
            labels[random.integers(answers)] = label
        near = boxes[random.integers(len(boxes), size=answers)] + random.normal(0, 4, (answers, 4))
        near[:, 2:] = near[:, :2] + np.maximum(near[:, 2:], 1)
        scores = np.sort(random.random(answers))[::-1].copy()
        result.append(
            Detections(
                torch.from_numpy(near).float(),
                torch.from_numpy(scores).float(),
                torch.from_numpy(labels.astype(np.int64)),
            )
        )
    truth = {"images": images, "annotations": annotations, "categories": categories}
    return truth, [image["id"] for image in images], result


def _objects(truth, image):
    for one in truth["annotations"]:
        if one["image_id"] == image["id"] and one["category_id"] == image["category_id"]:
            x, y, width, height = one["bbox"]
            yield x, y, x + width, y + height


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("answers", [1, 5])
def test_localization_error_is_ilsvrcs(seed, answers):
    truth, image_ids, result = _world(seed, answers)
    evaluator = LocalizationEvaluator(truth)
    evaluator.update(image_ids, result)
    right = {"top1_localization": 0, "top5_localization": 0, "top1": 0, "top5": 0}
    for image, answer in zip(truth["images"], result, strict=True):
        same = [truth["categories"][label]["id"] == image["category_id"] for label in answer.labels.tolist()]
        near = [any(_iou(box, one) >= 0.5 for one in _objects(truth, image)) for box in answer.boxes.tolist()]
        both = [a and b for a, b in zip(same, near, strict=True)]
        right["top1_localization"] += both[0]
        right["top5_localization"] += any(both)
        right["top1"] += same[0]
        right["top5"] += any(same)
    numbers = evaluator.compute()
    assert {name: round(numbers[name] * IMAGES) for name in right} == right
    assert 0 < right["top5_localization"] < right["top5"]
    assert numbers["localization_error"] == pytest.approx(1 - numbers["top5_localization"])


@pytest.mark.parametrize("seed", range(3))
def test_top_answers_and_confusion(seed):
    truth, image_ids, result = _world(seed)
    answers = [Classification(one.scores, one.labels) for one in result]
    evaluator = ClassificationEvaluator(truth)
    evaluator.update(image_ids, answers)
    evaluation = evaluator.evaluate()
    confusion = np.zeros((CLASSES, CLASSES), dtype=int)
    top5 = 0
    for image, answer in zip(truth["images"], answers, strict=True):
        label = (image["category_id"] - 3) // 10
        confusion[label, answer.labels[0]] += 1
        top5 += label in answer.labels[:5]
    assert np.array_equal(evaluation.confusion, confusion)
    assert evaluation.metrics["top1"] == pytest.approx(np.trace(confusion) / IMAGES)
    assert evaluation.metrics["top5"] == pytest.approx(top5 / IMAGES)
    row = evaluation.per_class()["class 2"]
    assert row["images"] == confusion[2].sum()
    assert row["top1"] == pytest.approx(confusion[2, 2] / confusion[2].sum())


@pytest.mark.parametrize("make", [ClassificationEvaluator, LocalizationEvaluator])
def test_processes_together_count_each_image_once(make):
    truth, image_ids, answers = _world(5)
    whole = make(truth)
    whole.update(image_ids, answers)
    parts = [make(truth) for _ in range(3)]
    for rank, part in enumerate(parts):
        part.update(image_ids[rank::3], answers[rank::3])
    parts[1].update(image_ids[:4], answers[:4])  # seen by two
    parts[0].merge([part.state() for part in parts[1:]])
    assert parts[0].compute() == whole.compute()
    whole.reset()
    assert whole.compute()["top1"] == 0


@pytest.mark.parametrize("make", [ClassificationEvaluator, LocalizationEvaluator])
def test_an_image_without_an_answer_is_wrong(make):
    truth, image_ids, answers = _world(6)
    evaluator = make(truth)
    evaluator.update(image_ids, answers)
    before = evaluator.evaluate()
    right = next(row for row, value in enumerate(before.values["top1"]) if value)
    evaluator.update([image_ids[right]], [answers[right][:0]])
    after = evaluator.evaluate()
    assert after.metrics["top1"] == pytest.approx(before.metrics["top1"] - 1 / IMAGES)
    assert after.confusion.sum() == IMAGES - 1


def test_labels_are_found_by_name():
    truth, image_ids, answers = _world(7)
    plain = ClassificationEvaluator(truth)
    plain.update(image_ids, answers)
    turned = [Category(k, f"class {CLASSES - 1 - k}") for k in range(CLASSES)]
    other = ClassificationEvaluator(truth, turned)
    other.update(image_ids, [Detections(one.boxes, one.scores, CLASSES - 1 - one.labels) for one in answers])
    assert other.compute() == plain.compute()


def test_a_file_does_as_well(tmp_path):
    truth, image_ids, answers = _world(8)
    path = tmp_path / "truth.json"
    path.write_text(json.dumps(truth))
    numbers = []
    for annotations in (truth, path):
        evaluator = LocalizationEvaluator(annotations)
        evaluator.update(image_ids, answers)
        numbers.append(evaluator.compute())
    assert numbers[0] == numbers[1]


def test_what_does_not_fit_is_named():
    truth, image_ids, answers = _world(9)
    with pytest.raises(InputError, match=r"image id 'x\.jpg' is not among the 60 images"):
        ClassificationEvaluator(truth).update(["x.jpg"], answers[:1])
    with pytest.raises(InputError, match="category 'dog' is not in"):
        ClassificationEvaluator(truth, [Category(1, "dog")])
    with pytest.raises(InputError, match=r"'0\.jpg'.* not all in 0\.\.1"):
        ClassificationEvaluator(truth, [Category(1, "class 0"), Category(2, "class 1")]).update(
            image_ids[:1], answers[:1]
        )
    with pytest.raises(InputError, match="has no boxes to localize with"):
        LocalizationEvaluator(truth).update(image_ids[:1], [Classification(answers[0].scores, answers[0].labels)])
    with pytest.raises(InputError, match=r"image '0\.jpg' has no object"):
        LocalizationEvaluator(truth | {"annotations": []})
    del truth["images"][0]["category_id"]
    with pytest.raises(InputError, match=r"data\.image_class"):
        ClassificationEvaluator(truth)


def test_without_images_there_is_nothing_to_measure():
    evaluator = ClassificationEvaluator({"images": [], "annotations": [], "categories": [{"id": 1, "name": "a"}]})
    assert evaluator.compute() == {"top1": -1.0, "top5": -1.0}


def test_tables_and_files(tmp_path):
    truth, image_ids, answers = _world(10)
    evaluator = LocalizationEvaluator(truth)
    evaluator.update(image_ids, answers)
    evaluation = evaluator.evaluate()
    assert image_table(evaluation).row_count == 5
    assert image_class_table(evaluation).row_count == CLASSES
    assert confusion_table(evaluation).row_count == CLASSES
    write_confusion(evaluation, tmp_path / "confusion.csv")
    rows = (tmp_path / "confusion.csv").read_text().splitlines()
    assert rows[0].split(",") == ["class", *(f"class {k}" for k in range(CLASSES))]
    assert [int(value) for value in rows[3].split(",")[1:]] == evaluation.confusion[2].tolist()
    write_confusion(evaluation, tmp_path / "confusion.png")
    assert (tmp_path / "confusion.png").read_bytes().startswith(b"\x89PNG")
    write_metrics(tmp_path / "metrics.json", {"localization": evaluation}, per_class=True)
    written = json.loads((tmp_path / "metrics.json").read_text())["localization"]
    assert written["localization_error"] == evaluation.metrics["localization_error"]
    assert written["per_class"].keys() == {f"class {k}" for k in range(CLASSES)}


def test_of_many_classes_the_most_frequent_confusions():
    categories = [{"id": k, "name": f"c{k}"} for k in range(20)]
    images = [{"id": number, "category_id": 3 if number < 7 else 5} for number in range(10)]
    evaluator = ClassificationEvaluator({"images": images, "annotations": [], "categories": categories})
    one = torch.ones(1)
    evaluator.update(range(10), [Classification(one, torch.tensor([4 if number < 6 else 5])) for number in range(10)])
    table = confusion_table(evaluator.evaluate())
    rows = list(zip(*(column.cells for column in table.columns), strict=True))
    assert rows == [("c3", "c4", "6", "7"), ("c3", "c5", "1", "7")]
