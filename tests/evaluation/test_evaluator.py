"""The contract of all evaluators."""

import pickle

import pytest
import torch
from rich.table import Table

from detkit.errors import InputError
from detkit.evaluation import (
    ClassificationEvaluator,
    CocoEvaluator,
    Evaluation,
    Evaluator,
    LocalizationEvaluator,
    ProposalRecall,
    ReportOptions,
    VocEvaluator,
)
from detkit.structures import Category, Classification, Detections, Target

CATEGORIES = [{"id": 3, "name": "disc"}, {"id": 7, "name": "star"}]
TRUTH = {
    "images": [{"id": n, "height": 40, "width": 40, "category_id": (3, 7)[n % 2], "file_name": ""} for n in range(4)],
    "annotations": [
        {"id": n + 1, "image_id": n, "category_id": (3, 7)[n % 2], "bbox": [4, 4, 20, 20], "area": 400, "iscrowd": 0}
        for n in range(4)
    ],
    "categories": CATEGORIES,
}
BOX = torch.tensor([[4.0, 4, 24, 24]])


def detections(number: int) -> Detections:
    return Detections(BOX + (0, 1, 9, 0)[number], torch.tensor([0.9]), torch.tensor([number % 2]))


def classes(number: int) -> Classification:
    return Classification(torch.tensor([0.9]), torch.tensor([0 if number < 3 else 1]))


CASES = [
    (CocoEvaluator, detections, "bbox", "boxes"),
    (VocEvaluator, detections, "voc2010", "boxes"),
    (ClassificationEvaluator, classes, "classification", "labels"),
    (LocalizationEvaluator, detections, "localization", "boxes"),
    (ProposalRecall, lambda number: detections(number).boxes, "proposals", "proposals"),
]


class TestEveryEvaluator:
    @pytest.fixture(params=CASES, ids=[case[2] for case in CASES])
    def case(self, request):
        return request.param

    @pytest.fixture
    def answer(self, case):
        return case[1]

    @pytest.fixture
    def make(self, case):
        return lambda: case[0](TRUTH, categories=[Category(3, "disc"), Category(7, "star")])

    @pytest.fixture
    def full(self, make, answer):
        evaluator = make()
        evaluator.update([Target.empty(image_id=n) for n in range(4)], [answer(n) for n in range(4)])
        return evaluator

    def test_says_what_it_reads_and_which_number_matters(self, case, full):
        assert (full.name, full.reads, full.higher_is_better) == (*case[2:], True)
        assert 0 < full.compute()[full.headline] < 1

    def test_remembers_the_whole_outcome(self, full):
        assert full.evaluation is None
        computed = full.compute()
        assert full.evaluation.metrics.items() <= computed.items()
        full.reset()
        assert full.evaluation is None

    def test_takes_ids_as_before_with_a_warning(self, make, full, answer):
        other = make()
        with pytest.warns(DeprecationWarning, match="give the targets"):
            other.update(torch.arange(4), [answer(n) for n in range(4)])
        assert other.compute() == full.compute()

    def test_counts_each_image_once_over_processes(self, make, full, answer):
        parts = [make(), make()]
        for number in (0, 1, 2):
            parts[number % 2].update([Target.empty(image_id=number)], [answer(number)])
        parts[0].update([Target.empty(image_id=3)], [answer(3)])
        parts[1].update([Target.empty(image_id=3)], [answer(3)])
        parts[0].merge([pickle.loads(pickle.dumps(parts[1].state()))])
        assert parts[0].compute() == full.compute()

    def test_names_an_image_that_is_unknown(self, make, answer):
        with pytest.raises(InputError, match="image id 9"):
            make().update([Target.empty(image_id=9)], [answer(0)])

    def test_reports_itself(self, full):
        full.compute()
        report = full.report(full.evaluation, ReportOptions(per_class=True))
        assert report.tables
        assert report.numbers.items() >= full.evaluation.metrics.items()
        assert set(full.evaluation.per_class()) == set(report.numbers["per_class"])


class Least(Evaluator):
    """The smallest program that is an evaluator."""

    name, reads, headline = "least", "boxes", "boxes"

    def keep(self, target, answer):
        return len(answer)

    def evaluate(self):
        return Evaluation({"boxes": float(sum(self.kept.values()))}, {"disc": {"boxes": 1.0}, "star": {"more": 2.0}})


class TestOwnEvaluator:
    def test_needs_what_it_keeps_and_how_it_evaluates(self):
        evaluator = Least(TRUTH, categories=None)
        evaluator.update([Target.empty(image_id="a")] * 2, [detections(0)] * 2)
        assert evaluator.compute() == {"boxes": 1.0}
        assert evaluator.log_name("boxes") == "val/least/boxes"

    def test_may_compare_a_batch_at_once(self):
        class Batched(Least):
            def keep_batch(self, targets, answers):
                return [100 * len(targets) + self.keep(*pair) for pair in zip(targets, answers, strict=True)]

        evaluator = Batched(TRUTH)
        evaluator.update([Target.empty(image_id=number) for number in range(3)], [detections(0)] * 3)
        assert evaluator.kept == {0: 301, 1: 301, 2: 301}

    def test_is_reported_as_tables_of_its_numbers(self):
        evaluator = Least(TRUTH)
        evaluator.compute()
        report = evaluator.report(evaluator.evaluation, ReportOptions(per_class=True))
        assert [type(table) for table in report.tables] == [Table, Table]
        assert report.numbers == {"boxes": 0.0, "per_class": {"disc": {"boxes": 1.0}, "star": {"more": 2.0}}}

    def test_says_what_it_does_not_do(self):
        with pytest.raises(InputError, match="Least evaluates a model"):
            Least(TRUTH).read("found.json")
        with pytest.raises(InputError, match="Least has no results"):
            Least(TRUTH).results()


def test_a_file_is_read_in_place_of_answers():
    evaluator = CocoEvaluator(TRUTH)
    evaluator.read([{"image_id": 0, "category_id": 3, "bbox": [4, 4, 20, 20], "score": 0.5}])
    assert evaluator.compute()["AR1"] == pytest.approx(0.25)  # one of two discs, none of two stars
    evaluator.reset()
    assert evaluator.compute()["AR1"] == 0
