"""`SemanticEvaluator` against the definitions pixel by pixel, and against hotcoco's numbers."""

import pickle
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_maps import as_labels, draw_maps
from pixel_by_pixel import by_definition

from detkit.errors import InputError
from detkit.evaluation import ReportOptions, SemanticEvaluator
from detkit.structures import Category, SemanticMap, Target


def evaluated(maps, dtype=torch.uint8, **options):
    evaluator = SemanticEvaluator(maps.annotations, **options)
    evaluator.update(maps.targets(dtype), maps.answers(dtype))
    return evaluator, evaluator.compute()


class TestNumbers:
    def test_are_those_of_the_definitions(self, maps):
        evaluator, numbers = evaluated(maps)
        expected, iou = by_definition(maps.pairs, maps.classes)
        assert numbers == pytest.approx(expected, abs=1e-12)
        classes = evaluator.evaluation.per_class()
        assert [row["IoU"] for row in classes.values()] == pytest.approx(iou.tolist(), abs=1e-12)
        assert sum(row["pixels"] for row in classes.values()) == sum((truth >= 0).sum() for truth, _ in maps.pairs)

    def test_on_fresh_maps(self):
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        for trial in range(20):
            maps = draw_maps(seed + trial)
            expected, _ = by_definition(maps.pairs, maps.classes, boundary=True)
            assert evaluated(maps, boundary_iou=True)[1] == pytest.approx(expected, abs=1e-12), (seed, trial)

    def test_do_not_depend_on_the_dtype(self, maps):
        assert evaluated(maps)[1] == evaluated(maps, torch.int16)[1]
        evaluator = SemanticEvaluator(maps.annotations)
        evaluator.update(maps.targets(torch.int16), maps.answers(torch.uint8))
        assert evaluator.compute() == evaluated(maps)[1]

    def test_a_class_that_no_map_has_is_no_part_of_the_means(self):
        evaluator = SemanticEvaluator(draw_maps(3).annotations)
        labels = torch.zeros(4, 4, dtype=torch.uint8)
        evaluator.update([Target(label_map=labels, image_id=0)], [SemanticMap(labels)])
        numbers = evaluator.compute()
        assert set(numbers.values()) == {1.0}
        absent = evaluator.evaluation.per_class()["class 1"]
        assert absent == {"IoU": -1, "Acc": -1, "Dice": -1, "pixels": 0, "images": 0}

    def test_a_class_that_only_the_answer_has_counts_in_iou_and_not_in_accuracy(self):
        """By hand: three of four pixels are right."""
        truth = torch.tensor([[0, 0, 0, 0]], dtype=torch.uint8)
        evaluator = SemanticEvaluator(draw_maps(3).annotations)
        evaluator.update([Target(label_map=truth, image_id=0)], [SemanticMap(torch.tensor([[0, 0, 0, 1]]).byte())])
        numbers = evaluator.compute()
        assert numbers["mIoU"] == (3 / 4 + 0) / 2
        assert (numbers["fwIoU"], numbers["mAcc"], numbers["aAcc"]) == (3 / 4, 3 / 4, 3 / 4)
        assert numbers["mDice"] == (6 / 7 + 0) / 2

    def test_nothing_but_void_measures_nothing(self):
        evaluator = SemanticEvaluator(draw_maps(3).annotations)
        void = torch.full((3, 3), 255, dtype=torch.uint8)
        evaluator.update([Target(label_map=void, image_id=0)], [SemanticMap(torch.zeros_like(void))])
        assert set(evaluator.compute().values()) == {-1.0}
        assert set(SemanticEvaluator(draw_maps(3).annotations).compute().values()) == {-1.0}

    def test_an_answer_of_no_class_is_wrong(self):
        truth = torch.zeros(1, 4, dtype=torch.uint8)
        evaluator = SemanticEvaluator(draw_maps(3).annotations)
        answer = SemanticMap(torch.tensor([[0, 255, 255, 255]]).byte())
        evaluator.update([Target(label_map=truth, image_id=0)], [answer])
        assert evaluator.compute()["mIoU"] == 0.25
        matrix = evaluator.evaluation.confusion_matrix
        assert matrix.names[-1] == "no class"
        assert matrix.counts[0, -1] == 3


class TestHotcoco:
    def test_the_same_numbers(self, hotcoco_cases):
        """hotcoco 1.3.0 (`semantic.SemanticEval`, which agrees with mmsegmentation's IoUMetric) on the same maps."""
        for case in hotcoco_cases:
            maps = draw_maps(case["seed"])
            maps.pairs = [(truth, np.maximum(answer, 0)) for truth, answer in maps.pairs]  # it has no void answers
            evaluator, numbers = evaluated(maps)
            for name, value in case["numbers"].items():
                assert numbers[name] == pytest.approx(value, abs=1e-12), (case["seed"], name)
            assert evaluator.evaluation.confusion[:, :-1].tolist() == case["confusion"]


class TestBoundaryIoU:
    def test_is_that_of_the_definition(self, maps):
        _, numbers = evaluated(maps, boundary_iou=True)
        expected, _ = by_definition(maps.pairs, maps.classes, boundary=True)
        assert numbers == pytest.approx(expected, abs=1e-12)
        assert evaluated(maps, torch.int16, boundary_iou=True)[1] == numbers

    def test_a_shifted_square(self):
        """By hand: of an image of 50 x 50 the boundary is 1 pixel wide; squares of 10 have rings of 36, and those that
        are one column apart share two rows of 9."""
        truth, answer = torch.zeros(2, 50, 50, dtype=torch.uint8)
        truth[20:30, 20:30] = 1
        answer[20:30, 21:31] = 1
        maps = draw_maps(3)
        evaluator = SemanticEvaluator(maps.annotations, boundary_iou=True)
        evaluator.update([Target(label_map=truth, image_id=0)], [SemanticMap(answer)])
        evaluator.compute()
        assert evaluator.evaluation.per_class()["class 1"]["BoundaryIoU"] == 18 / (36 + 36 - 18)

    def test_the_ratio_is_checked(self):
        with pytest.raises(InputError, match="boundary_ratio is 0"):
            SemanticEvaluator(draw_maps(0).annotations, boundary_ratio=0)


class TestLabels:
    def test_a_model_has_its_own_order(self, maps):
        """Its labels are joined by name; an unused label is no class."""
        order = np.random.default_rng(0).permutation(maps.classes)
        categories = [maps.categories[label] for label in order]
        categories.insert(1, Category(0, "N/A"))
        own = np.insert(order, 1, -1)
        label_of = {int(label): position for position, label in enumerate(own) if label >= 0}
        evaluator = SemanticEvaluator(maps.annotations, categories, boundary_iou=True)
        answers = [
            SemanticMap(as_labels(np.vectorize(lambda label: label_of.get(label, 1), otypes=[np.int64])(answer)))
            for _, answer in maps.pairs
        ]
        evaluator.update(maps.targets(), answers)
        assert evaluator.compute() == pytest.approx(evaluated(maps, boundary_iou=True)[1])

    @pytest.mark.parametrize(
        ("truth", "answer", "message"),
        [
            ([[0, 9]], [[0, 0]], "image 10: the label_map of the target has the label 9, but there are only 6 classes"),
            ([[0, 255]], [[9, 255]], "image 10: the label_map of the answer has the label 9"),
            ([[0, 0, 0]], [[0, 0]], r"image 10: .* answer has shape \(1, 2\), that of the target \(1, 3\)"),
        ],
    )
    def test_what_is_wrong_is_named(self, truth, answer, message):
        evaluator = SemanticEvaluator(six_classes().annotations)
        with pytest.raises(InputError, match=message):
            evaluator.update(
                [Target(label_map=torch.tensor(truth).byte(), image_id=10)], [SemanticMap(torch.tensor(answer).byte())]
            )

    def test_void_is_no_class_where_there_are_more_than_255(self):
        """A map of uint8 cannot have label 255, which is the void of all other data."""
        content = {
            "images": [{"id": 0}],
            "categories": [{"id": label, "name": str(label)} for label in range(300)],
            "annotations": [],
        }
        evaluator = SemanticEvaluator(content)
        truth, answer = torch.tensor([[3, 3, 255, 4]]).byte(), torch.tensor([[3, 299, 255, -1]]).short()
        evaluator.update([Target(label_map=truth, image_id=0)], [SemanticMap(answer)])
        assert evaluator.compute()["aAcc"] == 1 / 3
        assert evaluator.compute()["mIoU"] == (1 / 2 + 0 + 0) / 3

    def test_wrong_answers_in_general(self):
        evaluator = SemanticEvaluator(six_classes().annotations)
        target = Target(label_map=torch.zeros(1, 2, dtype=torch.uint8), image_id=10)
        wide = SimpleNamespace(label_map=torch.zeros(1, 2, dtype=torch.int64))
        with pytest.raises(InputError, match=r"image 10: the label_map of the answer is torch\.int64; give uint8"):
            evaluator.update([target], [wide])
        with pytest.raises(InputError, match="answer for image 10 is a int without a label_map"):
            evaluator.update([target], [3])
        with pytest.raises(InputError, match="image id 4 is not among the 4 images"):
            evaluator.update([Target(label_map=target.label_map, image_id=4)], [SemanticMap(target.label_map)])
        with pytest.raises(InputError, match="category 'cat' is not in annotations"):
            SemanticEvaluator(six_classes().annotations, [Category(1, "cat")])

    def test_images_without_a_map_are_left_out_and_said_once(self, caplog):
        maps = six_classes()
        evaluator = SemanticEvaluator(maps.annotations)
        evaluator.update(maps.targets()[:2], maps.answers()[:2])
        before = evaluator.compute()
        evaluator.update([Target.empty(20), Target.empty(30)], maps.answers()[2:])
        assert evaluator.compute() == evaluator.compute() == before
        said = [record.message for record in caplog.records]
        assert said == ["semantic: 2 of 4 images have no label_map, image 20 first: they are left out"]


class TestProcesses:
    def test_merged_states_count_each_image_once(self, maps):
        expected = evaluated(maps, boundary_iou=True)[1]
        parts = [SemanticEvaluator(maps.annotations, boundary_iou=True) for _ in range(2)]
        for part, rows in zip(parts, (slice(0, 3), slice(2, 4)), strict=True):
            part.update(maps.targets()[rows], maps.answers()[rows])
        states = pickle.loads(pickle.dumps([part.state() for part in parts]))
        for order in (states, states[::-1]):
            gathered = SemanticEvaluator(maps.annotations, boundary_iou=True)
            gathered.merge(order)
            assert gathered.compute() == expected


class TestWeighting:
    def test_is_that_of_repeated_images(self, maps):
        """The numbers of sums over the images, not means of images."""
        evaluator, numbers = evaluated(maps, boundary_iou=True)
        weighting = evaluator.image_weighting()
        assert weighting.numbers(np.ones(4)).of_all == numbers
        times = [0, 3, 1, 2]
        pairs = [pair for pair, number in zip(maps.pairs, times, strict=True) for _ in range(number)]
        expected, iou = by_definition(pairs, maps.classes, boundary=True)
        weighted = weighting.numbers(np.array(times, dtype=np.float64), by_class=True)
        assert weighted.of_all == pytest.approx(expected, abs=1e-12)
        assert weighted.by_class["IoU"] == pytest.approx(iou, abs=1e-12)

    def test_intervals_hold_their_number(self, maps):
        evaluator, numbers = evaluated(maps)
        report = evaluator.report(evaluator.evaluation, ReportOptions(per_class=True, bootstrap=50))
        for name, (low, high) in report.numbers["intervals"].items():
            assert low <= numbers[name] <= high
        assert len(report.tables) == 2

    def test_without_images_there_is_nothing_to_weight(self):
        with pytest.raises(InputError, match="nothing to resample"):
            SemanticEvaluator(draw_maps(0).annotations).image_weighting()


class TestChance:
    def test_no_answer_that_looks_at_nothing_exceeds_it(self):
        """One class everywhere, all classes at random, and classes as often as they are."""
        for seed in range(6):
            random = np.random.default_rng(seed)
            maps = draw_maps(seed, images=3)
            classes = maps.classes
            shares = np.bincount(np.concatenate([t[t >= 0] for t, _ in maps.pairs]), minlength=classes) + 1e-9
            kinds = [np.eye(classes)[shares.argmax()], np.full(classes, 1 / classes), shares / shares.sum()]
            for share in kinds:
                maps.pairs = [(truth, random.choice(classes, truth.shape, p=share)) for truth, _ in maps.pairs]
                evaluator, numbers = evaluated(maps)
                if numbers["mIoU"] >= 0 and classes > 1:
                    assert numbers["mIoU"] <= evaluator.chance()

    def test_is_unknown_before_there_are_answers(self):
        assert SemanticEvaluator(draw_maps(0).annotations).chance() is None


class TestReport:
    def test_confusion_goes_to_a_file(self, tmp_path):
        maps = six_classes()
        evaluator, _ = evaluated(maps)
        report = evaluator.report(evaluator.evaluation, ReportOptions(confusion=tmp_path / "c.csv"))
        rows = (tmp_path / "c.csv").read_text().splitlines()
        counts = evaluator.evaluation.confusion_matrix.counts
        assert rows[1] == ",".join(["class 0", *map(str, counts[0])])
        assert len(report.tables) == 2


def six_classes():
    return next(maps for seed in range(100) if (maps := draw_maps(seed)).classes == 6)
