"""check_task takes every task of detkit, and names each rule that a broken one breaks."""

import numpy as np
import pytest
import torch

from detkit.evaluation import ClassificationEvaluator
from detkit.reporting import Section
from detkit.structures import Category, Classification, Detections, Target
from detkit.tasks import Classification as ClassificationTask
from detkit.tasks import Detection, Localization, Recovered, Task
from detkit.testing import ContractError, check_task

CATEGORIES = [Category(3, "disc"), Category(7, "star")]
IMAGE = np.full((40, 60, 3), 90, np.uint8)
FOUND = Detections(
    boxes=torch.tensor([[1.0, 2, 24, 16], [8, 8, 30, 30]]),
    scores=torch.tensor([0.9, 0.4]),
    labels=torch.tensor([1, 0]),
    masks=torch.ones(2, 40, 60, dtype=torch.bool),
    keypoints=torch.ones(2, 4, 3),
)
CLASSES = Classification(torch.tensor([0.75, 0.25]), torch.tensor([1, 0]))


@pytest.mark.parametrize("answer", [FOUND, FOUND[:0], Detections(FOUND.boxes, FOUND.scores, FOUND.labels)])
@pytest.mark.parametrize("task", [Detection, Localization])
def test_ours_with_boxes_pass(task, answer):
    boxes = torch.tensor([[1.0, 2, 24, 16], [8, 8, 30, 30]])
    check_task(task(), IMAGE, answer, CATEGORIES, Target(boxes, torch.tensor([1, 0]), image_label=0))


def test_ours_for_whole_images_pass():
    check_task(ClassificationTask(), IMAGE, CLASSES, CATEGORIES, Target(image_label=1))


class WithoutName(ClassificationTask):
    name = ""


class TextFile(ClassificationTask):
    results_file = "classes.txt"


class ListOfParts(ClassificationTask):
    parts = ["labels"]  # noqa: RUF012


class NoSuchPart(ClassificationTask):
    parts = frozenset({"labels", "logits"})


class OtherAnswer(ClassificationTask):
    answer = Detections


class WithoutEvaluators(ClassificationTask):
    evaluators = ()


class EvaluatorOfOtherParts(ClassificationTask):
    parts = frozenset({"scores"})
    evaluators, named = (ClassificationEvaluator,), {}


class TensorResults(ClassificationTask):
    def results(self, answer, categories):
        return [{"score": answer.scores}]


class OneResult(ClassificationTask):
    def results(self, answer, categories):
        return {"score": 1.0}


class TensorContent(ClassificationTask):
    def results_content(self, entries, files, categories):
        return {"images": torch.zeros(2)}


class NamesTheFile(ClassificationTask):
    def results(self, answer, categories):
        return [{"file_name": "a.jpg"}]


class DrawsOnTheImage(ClassificationTask):
    def draw(self, image, answer, categories, score_threshold=0.5):
        image[:4] = 255
        return image.copy()


class DrawsFloats(ClassificationTask):
    def draw(self, image, answer, categories, score_threshold=0.5):
        return image / 255


class SelectsNothing(ClassificationTask):
    def select(self, answer, least_score):
        return None


class TakesAnything(ClassificationTask):
    def check_answers(self, model, answers):
        pass


class ReportsText(ClassificationTask):
    def report(self, evaluated):
        return ["all is well"]


class ReportsTwice(ClassificationTask):
    def report(self, evaluated):
        return [Section("one", "One", []), Section("one", "Two", [])]


class OtherTruth(ClassificationTask):
    def truth(self, target):
        return target.image_label


class FindsNothing(ClassificationTask):
    def recovered(self, target, answer):
        return Recovered(torch.zeros(1), torch.tensor([-1]))


class RefusesInSilence(ClassificationTask):
    def refusal(self, option, model):
        return ""


@pytest.mark.parametrize(
    ("mutant", "words"),
    [
        (WithoutName, r"WithoutName.name must be a name: got ''"),
        (TextFile, r"results_file must end in .json: got 'classes.txt'"),
        (ListOfParts, r"parts must be a frozenset"),
        (NoSuchPart, r"parts names \['logits'\], which a Classification does not have"),
        (OtherAnswer, r"answer is Detections, but the answer is a Classification"),
        (WithoutEvaluators, r"evaluators must be a tuple of at least one class"),
        (EvaluatorOfOtherParts, r"ClassificationEvaluator reads 'labels', which is not among the parts"),
        (TensorResults, r"results as JSON raises TypeError"),
        (OneResult, r"results must give a list of dicts"),
        (TensorContent, r"results_content as JSON raises TypeError"),
        (NamesTheFile, r"results gives \['file_name'\], which the command adds"),
        (DrawsOnTheImage, r"draw changes the image"),
        (DrawsFloats, r"draw must give an RGB image \(40, 60, 3\) uint8: got \(40, 60, 3\) float64"),
        (SelectsNothing, r"select must give a Classification for any score: got NoneType"),
        (TakesAnything, r"check_answers must refuse what is not a Classification"),
        (ReportsText, r"report must give a list of detkit.reporting.Section"),
        (ReportsTwice, r"two sections of the report are called 'one'"),
        (OtherTruth, r"truth must give a Classification or None: got 1"),
        (FindsNothing, r"recovered must find all of the truth in itself: got an overlap of 0.000"),
        (RefusesInSilence, r"refusal must give one sentence"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_names_the_broken_rule(mutant, words):
    with pytest.raises(ContractError, match=words):
        check_task(mutant(), IMAGE, CLASSES, CATEGORIES, Target(image_label=1))


def test_a_class_is_no_task():
    with pytest.raises(ContractError, match="a task is an object"):
        check_task(Task, IMAGE, CLASSES, CATEGORIES)
