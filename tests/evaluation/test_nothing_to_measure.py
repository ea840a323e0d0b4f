"""Numbers that say nothing come with one warning that says why."""

import copy
import json
import logging
import math

import pytest
import torch

from detkit.evaluation import (
    ClassificationEvaluator,
    CocoEvaluator,
    Evaluation,
    Evaluator,
    LocalizationEvaluator,
    ProposalRecall,
    VocEvaluator,
    evaluate_files,
)
from detkit.structures import Classification, Detections, Target

TRUTH = {
    "images": [
        {"id": key, "file_name": f"{key}.jpg", "height": 90, "width": 90, "category_id": 1} for key in range(30)
    ],
    "categories": [{"id": 1, "name": "cat"}, {"id": 2, "name": "dog"}],
    "annotations": [
        {"id": key, "image_id": key, "category_id": 1 + key % 2, "bbox": [5, 5, 40, 40], "iscrowd": 0}
        for key in range(30)
    ],
}
FOUND = Detections(torch.tensor([[5.0, 5, 45, 45]]), torch.tensor([0.9]), torch.tensor([0]))


def without(**changed):
    return copy.deepcopy(TRUTH) | changed


def crowds():
    return [one | {"iscrowd": 1} for one in TRUTH["annotations"]]


def only_cats():
    return [one | {"category_id": 1} for one in TRUTH["annotations"]]


@pytest.fixture
def warned(caplog):
    """The warnings of a computation that is done twice."""

    def run(evaluator):
        with caplog.at_level(logging.WARNING):
            first, second = evaluator.compute(), evaluator.compute()
        assert first == second
        return first, caplog.messages

    return run


DETECTIONS = [CocoEvaluator, VocEvaluator]
NOTHING = {
    "images": (without(images=[], annotations=[]), "annotations has no images"),
    "classes": (without(categories=[], annotations=[]), "annotations has no classes"),
    "objects": (without(annotations=[]), "annotations has no objects to detect"),
    "objects that are no crowds": (without(annotations=crowds()), "annotations has no objects to detect"),
}


@pytest.mark.parametrize("kind", DETECTIONS)
@pytest.mark.parametrize(("truth", "sentence"), NOTHING.values(), ids=NOTHING)
def test_annotations_without(warned, kind, truth, sentence):
    evaluator = kind(truth)
    numbers, messages = warned(evaluator)
    assert numbers[evaluator.headline] == -1
    (message,) = messages
    assert message.startswith(sentence)
    assert "-1" in message


@pytest.mark.parametrize("kind", DETECTIONS)
def test_no_detections(warned, kind):
    numbers, messages = warned(kind(TRUTH))
    assert set(numbers.values()) <= {0.0, -1.0}
    assert messages == ["there are no detections of any of the 30 images of annotations: the numbers are 0"]


@pytest.mark.parametrize("kind", DETECTIONS)
def test_a_class_without_objects(warned, kind):
    evaluator = kind(without(annotations=only_cats()))
    evaluator.read([{"image_id": key, "category_id": 1, "bbox": [5, 5, 40, 40], "score": 0.5} for key in range(30)])
    numbers, messages = warned(evaluator)
    assert numbers[evaluator.headline] == 1
    (message,) = messages
    assert "no objects to detect of 1 of 2 classes (dog)" in message


@pytest.mark.parametrize("kind", DETECTIONS)
def test_a_part_of_the_images_is_a_trial_and_all_of_them_are_not(warned, kind):
    evaluator = kind(TRUTH)
    nothing = Detections(torch.zeros(0, 4), torch.zeros(0), torch.zeros(0, dtype=torch.int64))
    evaluator.update([Target.empty(image_id=0)], [nothing])
    assert warned(evaluator)[1] == []
    evaluator.update([Target.empty(image_id=key) for key in range(30)], [nothing] * 30)
    assert len(warned(evaluator)[1]) == 1


def test_whole_evaluations_say_nothing(warned):
    evaluator = CocoEvaluator(without(annotations=only_cats(), categories=TRUTH["categories"][:1]))
    evaluator.update([Target.empty(image_id=key) for key in range(30)], [FOUND] * 30)
    assert warned(evaluator) == (pytest.approx(evaluator.compute()), [])


@pytest.mark.parametrize("in_memory", [True, False])
def test_a_file_with_few_of_the_images(tmp_path, caplog, in_memory):
    entries = [{"image_id": key, "category_id": 1 + key % 2, "bbox": [5, 5, 40, 40], "score": 0.5} for key in range(2)]
    path = tmp_path / "found.json"
    path.write_text(json.dumps(entries))
    with caplog.at_level(logging.WARNING):
        evaluate_files(TRUTH, entries if in_memory else path)
    (message,) = caplog.messages
    assert "has detections of only 2 of the 30 images of annotations" in message
    caplog.clear()
    path.write_text("[]")
    with caplog.at_level(logging.WARNING):
        assert evaluate_files(TRUTH, [] if in_memory else path)["AP"] == 0
    assert caplog.messages == ["there are no detections of any of the 30 images of annotations: the numbers are 0"]


@pytest.mark.parametrize("kind", [ClassificationEvaluator, LocalizationEvaluator])
def test_classes_of_images(warned, kind):
    truth = without(annotations=only_cats())
    evaluator = kind(without(images=[], annotations=[]))
    numbers, messages = warned(evaluator)
    assert set(numbers.values()) == {-1.0}
    assert messages == ["annotations has no images, so there is nothing to measure: the numbers are -1"]
    assert "there are no answers of any of the 30 images" in warned(kind(truth))[1][-1]
    evaluator = kind(truth)
    answer = FOUND if kind is LocalizationEvaluator else Classification(torch.tensor([0.9]), torch.tensor([0]))
    evaluator.update([Target.empty(image_id=key) for key in range(30)], [answer] * 30)
    numbers, messages = warned(evaluator)
    assert numbers[evaluator.headline] == 1
    assert "no images of 1 of 2 classes (dog)" in messages[-1]


def test_proposals(warned):
    assert "annotations has no objects, so" in warned(ProposalRecall(without(annotations=[])))[1][0]
    assert "no proposals of any of the 30 images" in warned(ProposalRecall(TRUTH))[1][-1]


class MeanScore(Evaluator):
    """An evaluator of someone else, who did not think of data without answers."""

    name, reads, headline = "mine", "boxes", "score"

    def keep(self, target, answer):
        return answer.scores.mean()

    def evaluate(self):
        return Evaluation({"score": sum(self.kept.values()) / len(self.kept) if self.kept else math.nan})


def test_an_evaluator_of_someone_else(caplog):
    evaluator = MeanScore(TRUTH)
    for _ in range(2):
        evaluator.compute()
    assert caplog.messages == ["mine: score is nan, since there is nothing to measure it with"]
