"""`PanopticEvaluator` against the definition, segment by segment, and against panopticapi's numbers."""

import json
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from drawn_panoptic_maps import INSTANCES, PanopticMaps, draw_panoptic_maps

from detkit.errors import InputError
from detkit.evaluation import PanopticEvaluator, ReportOptions
from detkit.structures import Category, Target
from detkit.trust.comparison import compare

FIXTURE = Path(__file__).parent / "panopticapi.json"


def evaluated(maps: PanopticMaps):
    evaluator = PanopticEvaluator(maps.annotations)
    evaluator.update(maps.targets(), maps.answers())
    return evaluator, evaluator.compute()


def by_definition(pairs, is_thing):
    """PQ, SQ and RQ of each class (Kirillov 2019, section 4.1), from the masks of all segments; None without any."""
    iou, right, wrong, missed = (np.zeros(len(is_thing)) for _ in range(4))
    for truth, answer in pairs:
        void = truth < 0
        own = [(number // INSTANCES, number, truth == number) for number in np.unique(truth) if number >= 0]
        crowds = [one for one in own if is_thing[one[0]] and one[1] % INSTANCES == 0]
        segments = [one for one in own if all(one is not crowd for crowd in crowds)]
        given = [(number // INSTANCES, answer == number) for number in np.unique(answer) if number >= 0]
        is_missed, is_wrong = [True] * len(segments), [True] * len(given)
        for row, (label, _, mask) in enumerate(segments):
            for column, (given_label, given_mask) in enumerate(given):
                overlap = (mask & given_mask).sum() / (mask | (given_mask & ~void)).sum()
                if label == given_label and overlap > 0.5:
                    iou[label] += overlap
                    right[label] += 1
                    is_missed[row] = is_wrong[column] = False
        for column, (label, mask) in enumerate(given):
            ignored = void.copy()
            for crowd_label, _, crowd in crowds:
                ignored |= crowd & (crowd_label == label)
            if is_wrong[column] and (mask & ignored).sum() <= 0.5 * mask.sum():
                wrong[label] += 1
        for row, (label, _, _) in enumerate(segments):
            missed[label] += is_missed[row]
    return [
        (i / (t + f / 2 + m / 2), i / t if t else 0.0, t / (t + f / 2 + m / 2)) if t + f + m else None
        for i, t, f, m in zip(iou, right, wrong, missed, strict=True)
    ]


def means(classes, is_thing):
    numbers = {}
    for part, members in (("", [True] * len(classes)), ("_things", is_thing), ("_stuff", ~is_thing)):
        chosen = [one for one, member in zip(classes, members, strict=True) if member and one is not None]
        for column, name in enumerate(("PQ", "SQ", "RQ")):
            numbers[name + part] = float(np.mean([one[column] for one in chosen])) if chosen else -1.0
    return numbers


class TestNumbers:
    @pytest.mark.parametrize("seed", range(20))
    def test_are_those_of_the_definition(self, seed):
        maps = draw_panoptic_maps(seed)
        evaluator, numbers = evaluated(maps)
        expected = by_definition(maps.pairs, maps.is_thing)
        assert numbers == pytest.approx(means(expected, maps.is_thing), abs=1e-12)
        for row, one in zip(evaluator.evaluation.per_class().values(), expected, strict=True):
            assert [row["PQ"], row["SQ"], row["RQ"]] == pytest.approx([-1] * 3 if one is None else one, abs=1e-12)

    def test_on_fresh_maps(self):
        seed = int(np.random.SeedSequence().generate_state(1)[0])
        for trial in range(15):
            maps = draw_panoptic_maps(seed + trial)
            expected = means(by_definition(maps.pairs, maps.is_thing), maps.is_thing)
            assert evaluated(maps)[1] == pytest.approx(expected, abs=1e-12), (seed, trial)

    def test_are_those_of_panopticapi(self):
        """panopticapi-lite 0.2.0 (`pq_compute_single_core` and `pq_average`), on the maps of these seeds as PNGs; where
        a class or a part has no segment, it divides by zero and we give -1."""
        for case in json.loads(FIXTURE.read_text()):
            _, numbers = evaluated(draw_panoptic_maps(case["seed"]))
            assert numbers == pytest.approx(case["numbers"], abs=1e-12), case["seed"]

    def test_by_hand(self):
        """A thing of 8 pixels of which 6 are answered, 1 of the answer's is void: IoU 6 / (8 + 7 - 6 - 1)."""
        maps = PanopticMaps(np.array([True, False]), [])
        truth = torch.tensor([[1, 1, 1, 1, 1, 1, 1, 1, -1, 65536]]).int()
        answer = torch.tensor([[-1, -1, 9, 9, 9, 9, 9, 9, 9, 65536]]).int()
        evaluator = PanopticEvaluator(maps.annotations | {"images": [{"id": 0}]})
        evaluator.update([Target(panoptic_map=truth, image_id=0)], [SimpleNamespace(panoptic_map=answer)])
        numbers = evaluator.compute()
        assert numbers["PQ_things"] == 6 / 8
        assert numbers["PQ_stuff"] == numbers["RQ"] == 1

    def test_exactly_half_is_no_match_and_exactly_half_void_is_wrong(self):
        maps = PanopticMaps(np.array([True]), [(np.array([[1, 1, -1, -1]]), np.array([[2, 0 + 3, 3, 4]]))])
        evaluator, _ = evaluated(maps)
        # 2 and 3 have IoU 1/2; half of 3 is void, all of 4.
        row = evaluator.evaluation.per_class()["class 0"]
        assert (row["TP"], row["FP"], row["FN"]) == (0, 2, 1)


class TestLabels:
    def test_a_model_has_its_own_order(self):
        for seed in range(10):
            maps = draw_panoptic_maps(seed)
            order = np.random.default_rng(seed).permutation(len(maps.is_thing))
            names = [Category(label + 1, f"class {label}") for label in order]
            label_of = np.append(np.argsort(order) + 1, -1)
            evaluator = PanopticEvaluator(maps.annotations, [Category(0, "N/A"), *names])
            answers = [
                np.where(answer < 0, answer, label_of[answer // INSTANCES] * INSTANCES + answer % INSTANCES)
                for _, answer in maps.pairs
            ]
            # What an unused label covers has no answer.
            unused = [np.where(answer < 0, 3, answer) for answer in answers]
            for some in (answers, unused):
                evaluator.update(
                    maps.targets(), [SimpleNamespace(panoptic_map=torch.from_numpy(one).int()) for one in some]
                )
                assert evaluator.compute() == pytest.approx(evaluated(maps)[1], abs=1e-12)

    @pytest.mark.parametrize(
        ("truth", "answer", "message"),
        [
            (
                [[5 * INSTANCES]],
                [[0]],
                "target has the number 327680, which is of label 5, but there are only 2",
            ),
            ([[0]], [[-2]], "image 0: the panoptic_map of the answer has the number -2"),
            ([[0, 0]], [[0]], r"answer has shape \(1, 1\), that of the target \(1, 2\)"),
        ],
    )
    def test_what_is_wrong_is_named(self, truth, answer, message):
        maps = PanopticMaps(np.array([True, False]), [(np.zeros((1, 1)), np.zeros((1, 1)))])
        evaluator = PanopticEvaluator(maps.annotations)
        target = Target(panoptic_map=torch.tensor(truth).int(), image_id=0)
        with pytest.raises(InputError, match=message):
            evaluator.update([target], [SimpleNamespace(panoptic_map=torch.tensor(answer).int())])
        with pytest.raises(InputError, match=r"answer is torch\.int64; give int32"):
            evaluator.update([target], [SimpleNamespace(panoptic_map=torch.tensor(truth))])

    def test_images_without_a_map_are_left_out_and_said_once(self, caplog):
        maps = draw_panoptic_maps(2)
        evaluator = PanopticEvaluator(maps.annotations)
        evaluator.update([*maps.targets()[:2], Target.empty(2)], maps.answers())
        assert evaluator.compute() == evaluated(PanopticMaps(maps.is_thing, maps.pairs[:2]))[1]
        evaluator.compute()
        said = [record.message for record in caplog.records]
        assert said == ["panoptic: 1 of 3 images have no panoptic_map, image 2 first: they are left out"]


class TestResampling:
    @pytest.mark.parametrize("seed", range(5))
    def test_merged_states_count_each_image_once(self, seed):
        maps = draw_panoptic_maps(seed)
        expected = evaluated(maps)[1]
        parts = [PanopticEvaluator(maps.annotations) for _ in range(2)]
        for part, rows in zip(parts, (slice(0, 2), slice(1, 3)), strict=True):
            part.update(maps.targets()[rows], maps.answers()[rows])
        states = pickle.loads(pickle.dumps([part.state() for part in parts]))
        for order in (states, states[::-1]):
            gathered = PanopticEvaluator(maps.annotations)
            gathered.merge(order)
            assert gathered.compute() == expected  # to the last bit

    @pytest.mark.parametrize("seed", range(5))
    def test_weights_are_repeated_images(self, seed):
        maps = draw_panoptic_maps(seed)
        evaluator, numbers = evaluated(maps)
        weighting = evaluator.image_weighting()
        assert weighting.numbers(np.ones(3)).of_all == pytest.approx(numbers, abs=1e-14)
        times = [2, 0, 3]
        pairs = [pair for pair, number in zip(maps.pairs, times, strict=True) for _ in range(number)]
        expected = by_definition(pairs, maps.is_thing)
        weighted = weighting.numbers(np.array(times, dtype=np.float64), by_class=True)
        assert weighted.of_all == pytest.approx(means(expected, maps.is_thing), abs=1e-12)
        assert weighted.by_class["PQ"] == pytest.approx([-1 if one is None else one[0] for one in expected], abs=1e-12)

    def test_intervals_and_comparison(self):
        maps = draw_panoptic_maps(1, images=12)
        evaluator, numbers = evaluated(maps)
        report = evaluator.report(evaluator.evaluation, ReportOptions(per_class=True, bootstrap=30))
        for name, (low, high) in report.numbers["intervals"].items():
            assert low <= numbers[name] <= high
        assert len(report.tables) == 2
        assert compare(evaluator, evaluated(maps)[0], samples=20, per_class=True).is_equal
        perfect = PanopticMaps(maps.is_thing, [(truth, truth) for truth, _ in maps.pairs])
        assert compare(evaluated(perfect)[0], evaluator, samples=50).better == "A"
        with pytest.raises(InputError, match="nothing to resample"):
            PanopticEvaluator(maps.annotations).image_weighting()


class TestChance:
    def test_no_single_class_exceeds_it(self):
        for seed in range(20):
            maps = draw_panoptic_maps(seed)
            for label in range(len(maps.is_thing)):
                number = label * INSTANCES + (1 if maps.is_thing[label] else 0)
                maps.pairs = [(truth, np.full_like(truth, number)) for truth, _ in maps.pairs]
                evaluator, numbers = evaluated(maps)
                if numbers["PQ"] >= 0 and evaluator.chance() is not None:
                    assert numbers["PQ"] <= evaluator.chance()

    def test_is_unknown_before_there_are_answers(self):
        assert PanopticEvaluator(draw_panoptic_maps(0).annotations).chance() is None
