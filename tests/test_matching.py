"""Matching against torchvision's, ignore regions, and the samples that losses see."""

import pytest
import torch
from torchvision.models.detection._utils import Matcher as TorchvisionMatcher
from torchvision.models.detection._utils import SSDMatcher

from detkit import matching
from detkit.heads.assignment import NO_OBJECT, NOT_LEARNED, assign_objects
from detkit.matching import (
    BACKGROUND,
    FOREGROUND,
    IGNORED,
    BestForEachMatcher,
    Matcher,
    draw_balanced,
    sample_balanced,
    shuffle,
)
from detkit.ops import box_iou
from detkit.structures import Target
from detkit.structures.objects import objects_of

SEEDS = [0, 1, 2, 3]
RULES = [(0.7, 0.3, True), (0.5, 0.5, False), (0.5, 0.4, True), (0.6, 0.1, False)]


def _boxes(count, seed, side=60):
    """Boxes with corners at whole pixels of a small image, so that many overlaps tie."""
    generator = torch.Generator().manual_seed(seed)
    corners = torch.randint(0, side, (count, 2, 2), generator=generator).sort(dim=1).values
    corners[:, 1] += 4
    return corners.flatten(1).float()


def _target(boxes, iscrowd=None, labels=None):
    labels = torch.arange(len(boxes)) if labels is None else labels
    return Target(boxes, labels, iscrowd=iscrowd)


class TestMatcher:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize(("foreground_iou", "background_iou", "keep_best"), RULES)
    def test_equals_torchvision(self, foreground_iou, background_iou, keep_best, seed):
        objects, candidates = _boxes(6, seed), _boxes(400, seed + 50)
        indices, states = Matcher(foreground_iou, background_iou, keep_best)(candidates, _target(objects))
        iou = box_iou(objects, candidates)
        assert (iou.amax(dim=1) > 0).all()
        expected = TorchvisionMatcher(foreground_iou, background_iou, keep_best)(iou)
        assert torch.equal(states == FOREGROUND, expected >= 0)
        assert torch.equal(states == BACKGROUND, expected == TorchvisionMatcher.BELOW_LOW_THRESHOLD)
        assert torch.equal(states == IGNORED, expected == TorchvisionMatcher.BETWEEN_THRESHOLDS)
        assert torch.equal(indices[states == FOREGROUND], expected[expected >= 0])
        assert len(set(states.tolist())) >= 2

    def test_thresholds_are_inclusive(self):
        object_ = torch.tensor([[0.0, 0.0, 10.0, 10.0]])
        # IoU 0.5, 0.4 and just below them.
        candidates = torch.tensor([[0, 0, 10, 5], [0, 0, 10, 4.99], [0, 0, 10, 4], [0, 0, 10, 3.99]])
        _, states = Matcher(0.5, 0.4)(candidates, _target(object_))
        assert states.tolist() == [FOREGROUND, IGNORED, IGNORED, BACKGROUND]

    def test_keep_best_takes_all_that_tie_and_each_stands_for_its_own_best_object(self):
        objects = torch.tensor([[0.0, 0.0, 40.0, 40.0], [0.0, 0.0, 8.0, 8.0]])
        # The first two overlap the large object alike and best; the third is the best of the small one, and is
        # exactly that; the fourth is worse for both.
        candidates = torch.tensor([[20, 0, 40, 10], [20, 10, 40, 20], [0, 0, 8, 8], [30, 30, 40, 38]]).float()
        indices, states = Matcher(0.7, 0.3, keep_best=True)(candidates, _target(objects))
        assert states.tolist() == [FOREGROUND, FOREGROUND, FOREGROUND, BACKGROUND]
        assert indices[:3].tolist() == [0, 0, 1]

    def test_keep_best_may_give_a_candidate_to_another_object(self):
        objects = torch.tensor([[0.0, 0.0, 10.0, 10.0], [8.0, 0.0, 30.0, 30.0]])
        candidates = torch.tensor([[0.0, 0.0, 11.0, 10.0]])  # best for both objects, but much better for the first
        indices, states = Matcher(0.7, 0.3, keep_best=True)(candidates, _target(objects))
        assert (indices.tolist(), states.tolist()) == ([0], [FOREGROUND])

    def test_an_object_that_touches_no_candidate_makes_none_foreground(self):
        objects = torch.tensor([[100.0, 100.0, 110.0, 110.0]])
        _, states = Matcher(0.7, 0.3, keep_best=True)(_boxes(20, 0), _target(objects))
        assert (states == BACKGROUND).all()

    def test_without_objects_everything_is_background(self):
        indices, states = Matcher(0.7, 0.3, keep_best=True)(_boxes(9, 0), Target.empty())
        assert states.tolist() == [BACKGROUND] * 9
        assert indices.tolist() == [0] * 9

    @pytest.mark.parametrize("objects", [0, 3])
    @pytest.mark.parametrize("crowds", [0, 2])
    def test_without_candidates_nothing_is_matched(self, objects, crowds):
        iscrowd = torch.arange(objects + crowds) >= objects
        target = _target(_boxes(objects + crowds, 0), iscrowd)
        indices, states = Matcher(0.7, 0.3, keep_best=True)(torch.zeros(0, 4), target)
        assert indices.shape == states.shape == (0,)
        assert indices.dtype == states.dtype == torch.int64


class TestBestForEachMatcher:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_equals_torchvision(self, seed):
        generator = torch.Generator().manual_seed(seed)
        objects, candidates = _boxes(6, seed), _boxes(400, seed + 50)
        candidates = candidates + torch.rand(400, 4, generator=generator)  # no two are equally good
        indices, states = BestForEachMatcher(0.5, 0.5)(candidates, _target(objects))
        expected = SSDMatcher(0.5)(box_iou(objects, candidates).float())
        assert torch.equal(states == FOREGROUND, expected >= 0)
        assert torch.equal(states == BACKGROUND, expected < 0)
        assert torch.equal(indices[states == FOREGROUND], expected[expected >= 0])

    def test_an_object_takes_its_best_candidate_from_another_that_is_closer(self):
        objects = torch.tensor([[0.0, 0.0, 10.0, 10.0], [0.0, 0.0, 10.0, 4.0]])
        # The first candidate is the large object's at IoU 0.8, and at 0.5 still the best that the small one has.
        candidates = torch.tensor([[0.0, 0.0, 10.0, 8.0], [0.0, 1.0, 10.0, 10.0], [50.0, 50.0, 60.0, 60.0]])
        indices, states = BestForEachMatcher(0.5, 0.5)(candidates, _target(objects))
        assert indices[:2].tolist() == [1, 0]
        assert states.tolist() == [FOREGROUND, FOREGROUND, BACKGROUND]
        assert Matcher(0.5, 0.5, keep_best=True)(candidates, _target(objects))[0][:2].tolist() == [0, 0]

    def test_every_object_is_found_however_low_its_iou(self):
        objects = torch.tensor([[0.0, 0.0, 2.0, 2.0], [90.0, 90.0, 93.0, 99.0]])
        candidates = torch.tensor([[0.0, 0.0, 40.0, 40.0], [60.0, 60.0, 100.0, 100.0]])
        indices, states = BestForEachMatcher(0.5, 0.5)(candidates, _target(objects))
        assert indices.tolist() == [0, 1]
        assert states.tolist() == [FOREGROUND, FOREGROUND]

    def test_of_objects_with_one_best_candidate_the_last_gets_it(self):
        objects = torch.tensor([[0.0, 0.0, 10.0, 10.0]] * 3)
        indices, states = BestForEachMatcher(0.5, 0.5)(objects[:1], _target(objects))
        assert indices.tolist() == [2]
        assert states.tolist() == [FOREGROUND]

    def test_an_object_that_nothing_overlaps_gets_nothing(self):
        candidates = torch.tensor([[0.0, 0.0, 10.0, 10.0], [20.0, 0.0, 30.0, 10.0]])
        _, states = BestForEachMatcher(0.5, 0.5)(candidates, _target(torch.tensor([[50.0, 50.0, 60.0, 60.0]])))
        assert states.tolist() == [BACKGROUND, BACKGROUND]

    def test_crowds_are_ignored_and_nothing_is_legal(self):
        crowd = _target(torch.tensor([[0.0, 0.0, 20.0, 20.0]]), torch.tensor([True]))
        candidates = torch.tensor([[0.0, 0.0, 10.0, 10.0], [40.0, 0.0, 50.0, 10.0]])
        matcher = BestForEachMatcher(0.5, 0.5)
        assert matcher(candidates, crowd)[1].tolist() == [IGNORED, BACKGROUND]
        assert matcher(candidates, Target.empty())[1].tolist() == [BACKGROUND, BACKGROUND]
        assert len(matcher(candidates[:0], crowd)[1]) == 0


class TestIgnoreRegions:
    CROWD = torch.tensor([[0.0, 0.0, 40.0, 40.0]])

    def test_background_inside_is_ignored(self):
        candidates = torch.tensor([[5, 5, 15, 15], [30, 0, 50, 10], [31, 0, 51, 10], [50, 50, 60, 60]]).float()
        target = _target(self.CROWD, torch.tensor([True]))
        _, states = Matcher(0.5, 0.5)(candidates, target)
        # Inside; half inside; less than half; outside.
        assert states.tolist() == [IGNORED, IGNORED, BACKGROUND, BACKGROUND]

    def test_the_share_is_an_argument(self):
        candidates = torch.tensor([[30.0, 0.0, 50.0, 10.0]])
        target = _target(self.CROWD, torch.tensor([True]))
        assert Matcher(0.5, 0.5, ignore_coverage=0.6)(candidates, target)[1].tolist() == [BACKGROUND]

    def test_a_crowd_is_no_object(self):
        target = _target(self.CROWD, torch.tensor([True]))
        for keep_best in (False, True):
            _, states = Matcher(0.5, 0.3, keep_best)(self.CROWD, target)
            assert states.tolist() == [IGNORED]

    def test_foreground_inside_stays(self):
        boxes = torch.cat((self.CROWD, torch.tensor([[5.0, 5.0, 15.0, 15.0]])))
        target = _target(boxes, torch.tensor([True, False]))
        candidates = torch.tensor([[5.0, 5.0, 15.0, 14.0], [20.0, 20.0, 30.0, 30.0]])
        indices, states = Matcher(0.5, 0.5)(candidates, target)
        assert states.tolist() == [FOREGROUND, IGNORED]
        assert indices[0] == 0  # the position among the objects, of which the crowd is none

    @pytest.mark.parametrize("seed", SEEDS)
    def test_changes_background_alone(self, seed):
        boxes, candidates = _boxes(8, seed), _boxes(300, seed + 9)
        iscrowd = torch.arange(8) % 3 == 0
        matcher = Matcher(0.5, 0.3, keep_best=True)
        indices, states = matcher(candidates, _target(boxes, iscrowd))
        indices_without, without = matcher(candidates, _target(boxes[~iscrowd]))
        changed = states != without
        assert changed.any()
        assert (without[changed] == BACKGROUND).all()
        assert (states[changed] == IGNORED).all()
        assert torch.equal(indices, indices_without)


class TestBatch:
    """All images at once give what each gives alone."""

    @staticmethod
    def _targets(seed):
        crowded = torch.arange(9) % 4 == 1
        return [_target(_boxes(5, seed)), Target.empty(), _target(_boxes(9, seed + 1), crowded), _target(_boxes(1, 3))]

    @pytest.mark.parametrize("kind", [Matcher, BestForEachMatcher])
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("rule", [*RULES, (0.5, 0.5, False, 0.5, 0.1)])
    def test_equals_image_by_image(self, rule, seed, kind):
        matcher, targets, candidates = kind(*rule), self._targets(seed), _boxes(300, seed + 50)
        objects = objects_of(targets, candidates.device)
        images = torch.randint(4, (300,), generator=torch.Generator().manual_seed(seed))
        shared = matcher.match(candidates, objects.located, objects.crowds)
        flat = matcher.match(candidates, objects.located, objects.crowds, images)
        for image, (target, offset) in enumerate(zip(targets, objects.offsets, strict=True)):
            own = images == image
            for matches, selected in (
                ([part[image] for part in shared], slice(None)),
                ([one[own] for one in flat], own),
            ):
                rows, foreground, background = matches
                indices, states = matcher(candidates[selected], target)
                assert torch.equal(foreground, states == FOREGROUND)
                assert torch.equal(background & ~foreground, states == BACKGROUND)
                assert torch.equal(rows, indices + offset) if len(target.objects()) else (rows == -1).all()

    @pytest.mark.parametrize("flat", [False, True])
    def test_a_matcher_of_ones_own_is_called_image_by_image(self, flat):
        class Own(Matcher):
            def __call__(self, candidates, target):
                return super().__call__(candidates, target)

        targets, candidates = [*self._targets(0), Target()], _boxes(300, 50)
        objects = objects_of(targets, candidates.device)
        images = torch.randint(5, (300,), generator=torch.Generator().manual_seed(0)) if flat else None
        expected = assign_objects(Matcher(0.5, 0.3, True), candidates, objects, images)
        assert torch.equal(assign_objects(Own(0.5, 0.3, True), candidates, objects, images), expected)
        assert {NO_OBJECT, NOT_LEARNED} < set(expected.flatten().tolist())
        assert (expected[images == 4 if flat else 4] == NOT_LEARNED).all()


class TestDrawBalanced:
    """Of a whole batch, as `sample_balanced` of each image."""

    COUNTS = ((100, 100, 30), (5, 100, 0), (100, 5, 0), (0, 0, 7), (3, 4, 0), (0, 300, 9))

    def _states(self):
        states = torch.full((len(self.COUNTS), 320), IGNORED)
        for row, (foreground, background, _) in zip(states, self.COUNTS, strict=True):
            places = torch.randperm(320, generator=torch.Generator().manual_seed(foreground))
            row[places[:foreground]] = FOREGROUND
            row[places[foreground : foreground + background]] = BACKGROUND
        return states

    def test_counts(self):
        states = self._states()
        sample = draw_balanced(states, 64, 0.5)
        assert sample.counts() == ([32, 5, 32, 0, 3, 0], [32, 59, 5, 0, 4, 64])
        for row, indices, is_drawn in zip(states, sample.indices, sample.is_drawn, strict=True):
            foreground, background = (
                indices[part][is_drawn[part]]
                for part in (slice(sample.most_foreground), slice(sample.most_foreground, None))
            )
            assert (row[foreground] == FOREGROUND).all()
            assert (row[background] == BACKGROUND).all()
            assert len(torch.cat((foreground, background)).unique()) == is_drawn.sum()

    def test_every_candidate_of_every_image_is_drawn_equally_often(self):
        torch.manual_seed(0)
        states = torch.tensor([[FOREGROUND] * 10 + [BACKGROUND] * 20 + [IGNORED] * 5] * 300)
        sample = draw_balanced(states, 8, 0.5)
        times = torch.zeros(35).scatter_add_(0, sample.indices[sample.is_drawn], torch.ones(300 * 8))
        # 300 draws of 4 of 10, and of 4 of 20: 120 and 60 on average, with standard deviations of 8.5 and 6.9.
        assert ((times[:10] - 120).abs() < 35).all()
        assert ((times[10:30] - 60).abs() < 28).all()
        assert not times[30:].any()

    def test_pairs_are_drawn_equally_often(self):
        torch.manual_seed(1)
        sample = draw_balanced(torch.full((600, 6), BACKGROUND), 2, 0.5)
        drawn = sample.indices[:, sample.most_foreground :].sort(dim=1).values
        pairs = (drawn[:, 0] * 6 + drawn[:, 1]).unique(return_counts=True)[1]
        assert len(pairs) == 15
        assert ((pairs - 40).abs() < 26).all()  # the standard deviation is 6.1

    def test_the_generator_decides(self):
        states = self._states()
        once, again, other = (
            draw_balanced(states, 64, 0.5, torch.Generator().manual_seed(seed)).indices for seed in (1, 1, 2)
        )
        assert torch.equal(once, again)
        assert not torch.equal(once, other)

    @pytest.mark.parametrize("shape", [(0, 5), (3, 0), (2, 1)])
    def test_of_little(self, shape):
        sample = draw_balanced(torch.full(shape, BACKGROUND), 64, 0.25)
        assert sample.is_drawn.sum() == shape[0] * shape[1]


class TestSampleBalanced:
    @staticmethod
    def _states(foreground, background, ignored, seed=0):
        states = torch.tensor([FOREGROUND] * foreground + [BACKGROUND] * background + [IGNORED] * ignored)
        return states[torch.randperm(len(states), generator=torch.Generator().manual_seed(seed))]

    @pytest.mark.parametrize(
        ("foreground", "background", "expected"),
        [
            (100, 100, (32, 32)),
            (5, 100, (5, 59)),  # background fills up
            (100, 5, (32, 5)),  # foreground never exceeds its share
            (0, 100, (0, 64)),
            (100, 0, (32, 0)),
            (3, 4, (3, 4)),
            (0, 0, (0, 0)),
        ],
    )
    def test_counts(self, foreground, background, expected):
        states = self._states(foreground, background, ignored=30)
        chosen = sample_balanced(states, 64, 0.5)
        assert tuple(map(len, chosen)) == expected
        assert (states[chosen[0]] == FOREGROUND).all()
        assert (states[chosen[1]] == BACKGROUND).all()
        assert len(torch.cat(chosen).unique()) == sum(expected)

    def test_a_share_of_a_quarter(self):
        assert tuple(map(len, sample_balanced(self._states(500, 500, 0), 100, 0.25))) == (25, 75)

    def test_every_candidate_is_drawn_equally_often(self):
        torch.manual_seed(0)
        states = self._states(20, 40, ignored=5)
        times, rounds = torch.zeros(len(states)), 2000
        for _ in range(rounds):
            times[torch.cat(sample_balanced(states, 20, 0.5))] += 1
        # 10 of 20 and 10 of 40; five standard deviations of a binomial count.
        for state, share in ((FOREGROUND, 0.5), (BACKGROUND, 0.25)):
            deviation = (rounds * share * (1 - share)) ** 0.5
            assert (times[states == state] - rounds * share).abs().max() < 5 * deviation
        assert times[states == IGNORED].sum() == 0

    def test_a_seed_repeats_the_sample(self):
        states = self._states(100, 100, 0)
        samples = []
        for seed in (1, 1, 2):
            torch.manual_seed(seed)
            samples.append(torch.cat(sample_balanced(states, 64, 0.5)))
        assert torch.equal(samples[0], samples[1])
        assert not torch.equal(samples[0], samples[2])

    def test_a_generator_repeats_the_sample_and_leaves_torchs_own_alone(self):
        states, before = self._states(100, 100, 0), torch.get_rng_state()
        samples = [
            torch.cat(sample_balanced(states, 64, 0.5, torch.Generator().manual_seed(seed))) for seed in (1, 1, 2)
        ]
        assert torch.equal(samples[0], samples[1])
        assert not torch.equal(samples[0], samples[2])
        assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("name", ["RegionSampler", "SampledRegions"])
def test_old_names_say_where_things_are(name):
    with pytest.warns(DeprecationWarning, match=rf"^{name} is detkit\.heads\.Region"):
        getattr(matching, name)


def test_a_generator_of_another_device_shuffles():
    assert shuffle(torch.zeros(4, 2, device="meta"), torch.Generator().manual_seed(0)).shape == (4, 2)
    values = torch.arange(100)
    once, again = (shuffle(values, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(once, again)
    assert torch.equal(once.sort().values, values)
