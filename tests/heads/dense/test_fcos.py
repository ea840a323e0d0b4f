"""FCOS's head: its assignment against the definition, its losses against a sum by hand, its detections."""

import math

import pytest
import torch
from contexts import context_of
from hypothesis import given
from hypothesis import strategies as st

from detkit.errors import InputError
from detkit.heads import NMS, FCOSHead
from detkit.heads.dense.fcos import FCOSOutput, centerness_of
from detkit.matching import BACKGROUND, FOREGROUND, IGNORED
from detkit.ops import box_iou
from detkit.ops.iou import paired_iou
from detkit.structures import Target

SEEDS = [0, 1, 2]
CLASSES, PADDED, GRIDS, STRIDES = 3, (96, 128), [(12, 16), (6, 8), (3, 4)], [8, 16, 32]
LIMITS = [24.0, 48.0]
EVERYWHERE = torch.tensor([[-500.0, -500.0, 900.0, 900.0]])


def _head(**options):
    torch.manual_seed(0)
    return FCOSHead([6, 6, 6], STRIDES, CLASSES, **({"convolutions": 1, "range_limits": LIMITS} | options))


def _features(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 6, *grid, generator=generator) for grid in GRIDS]


def _locations(head):
    return [head._locations(torch.zeros(1, 6, *grid), PADDED) for grid in GRIDS]


def _target(seed, count=4, crowded=0):
    generator = torch.Generator().manual_seed(seed)
    sizes = 12 + torch.rand(count, 2, generator=generator) * 70
    corners = torch.rand(count, 2, generator=generator) * (torch.tensor([PADDED[1], PADDED[0]]) - sizes)
    labels = torch.randint(CLASSES, (count,), generator=generator)
    boxes = torch.cat((corners, corners + sizes), dim=1)
    return Target(boxes, labels, iscrowd=torch.arange(count) >= count - crowded)


def _crowd(boxes):
    return Target(boxes, torch.zeros(len(boxes), dtype=torch.int64), iscrowd=torch.ones(len(boxes), dtype=torch.bool))


def _random(head, seed, batch=2, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    classes, distances, centerness = [], [], []
    for height, width in GRIDS:
        count = height * width
        classes.append(2 * torch.randn(batch, count, head.logits, generator=generator) - 2)
        distances.append(3 * torch.rand(batch, count, 4, generator=generator))
        centerness.append(torch.randn(batch, count, generator=generator))
    made = ([x.requires_grad_(requires_grad) for x in part] for part in (classes, distances, centerness))
    return FCOSOutput(*made, _locations(head))


def _by_definition(x, y, level, target, radius=1.5):
    """The index of the object that a location is to find, None, or "ignored"."""
    candidates = []
    for index, (x1, y1, x2, y2) in enumerate(target.objects().boxes.tolist()):
        distances = (x - x1, y - y1, x2 - x, y2 - y)
        central = max(abs(x - (x1 + x2) / 2), abs(y - (y1 + y2) / 2)) < radius * STRIDES[level]
        in_range = [0.0, *LIMITS][level] < max(distances) < [*LIMITS, math.inf][level]
        if min(distances) > 0 and central and in_range:
            candidates.append(((x2 - x1) * (y2 - y1), index))
    if candidates:
        return min(candidates)[1]
    crowded = any(x1 < x < x2 and y1 < y < y2 for x1, y1, x2, y2 in target.ignored_boxes().tolist())
    return "ignored" if crowded else None


@st.composite
def targets(draw):
    """Boxes at whole and half pixels, so that all sums are exact and ties are frequent."""
    count = draw(st.integers(0, 6))
    rows, crowd = [], []
    for _ in range(count):
        x, y = draw(st.integers(0, 230)) / 2, draw(st.integers(0, 170)) / 2
        rows.append([x, y, x + draw(st.integers(4, 240)) / 2, y + draw(st.integers(4, 180)) / 2])
        crowd.append(draw(st.integers(0, 4)) == 0)
    return Target(
        torch.tensor(rows).view(-1, 4), torch.zeros(count, dtype=torch.int64), iscrowd=torch.tensor(crowd).bool()
    )


class TestAssignment:
    @given(targets(), st.sampled_from([0.0, 0.5]))
    def test_equals_the_definition(self, target, offset):
        head = _head(location_offset=offset)
        locations = _locations(head)
        indices, states = head.match(locations, target)
        places = [(x, y, level) for level, of_level in enumerate(locations) for x, y in of_level.tolist()]
        assert len(places) == len(states) == len(indices)
        areas = (target.objects().boxes[:, 2:] - target.objects().boxes[:, :2]).prod(dim=1).tolist()
        for place, index, state in zip(places, indices.tolist(), states.tolist(), strict=True):
            expected = _by_definition(*place, target)
            if isinstance(expected, int):
                assert state == FOREGROUND
                assert areas[index] == areas[expected]  # of objects of the same area either may win
            else:
                assert state == (IGNORED if expected == "ignored" else BACKGROUND)

    def test_the_smallest_of_several_objects_wins(self):
        boxes = torch.tensor([[16.0, 16, 56, 56], [28, 28, 44, 44], [24, 24, 48, 48]])
        head = _head(range_limits=[100.0, 200.0])
        indices, states = head.match(_locations(head), Target(boxes, torch.arange(3)))
        center = 4 * 16 + 4  # the cell of (36, 36) at stride 8
        assert (states[center], indices[center]) == (FOREGROUND, 1)
        beside = 3 * 16 + 3  # (28, 28) lies on the corner of the second, within the others
        assert (states[beside], indices[beside]) == (FOREGROUND, 2)

    def test_levels_share_objects_out_by_size(self):
        head = _head()
        for size, levels in ((16, [0]), (60, [1]), (96, [2])):
            box = torch.tensor([[0.0, 0.0, size, size]])
            _, states = head.match(_locations(head), Target(box, torch.zeros(1, dtype=torch.int64)))
            of_levels = states.split([height * width for height, width in GRIDS])
            assert [level for level, its in enumerate(of_levels) if (its == FOREGROUND).any()] == levels

    def test_ranges_are_those_of_the_paper(self):
        head = FCOSHead([1] * 5, [8, 16, 32, 64, 128], 1)
        assert head.limits == [0, 64, 128, 256, 512, math.inf]

    def test_locations_are_the_middles_of_cells(self):
        first, _, last = _locations(_head())
        assert first[:2].tolist() == [[4, 4], [12, 4]]
        assert last[-1].tolist() == [112, 80]


def test_centerness_is_one_in_the_middle_and_none_at_the_edge():
    distances = torch.tensor([[5.0, 7, 5, 7], [0, 7, 5, 7], [2, 3, 8, 12]])
    torch.testing.assert_close(centerness_of(distances), torch.tensor([1.0, 0.0, 0.25]))


class TestLosses:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_equal_a_sum_by_hand(self, seed):
        head = _head(background_logit=True)
        targets = [_target(seed, crowded=1), _target(seed + 10, count=2), Target.empty()]
        raw = _random(head, seed, batch=3)
        locations = torch.cat(raw.locations)
        strides = torch.cat([torch.full((len(level),), s) for level, s in zip(raw.locations, STRIDES, strict=True)])
        cls = box_loss = centerness_loss = count = 0.0
        for image, target in enumerate(targets):
            indices, states = head.match(raw.locations, target)
            logits, distances, centerness = (torch.cat(part, dim=1)[image].detach() for part in raw[:3])
            p, truth = logits.double().sigmoid(), torch.zeros(len(states), CLASSES + 1)
            for place in torch.where(states == FOREGROUND)[0].tolist():
                truth[place, target.objects().labels[indices[place]]] = 1
                (x, y), (x1, y1, x2, y2) = locations[place].tolist(), target.objects().boxes[indices[place]].tolist()
                left, top, right, bottom = (distances[place] * strides[place]).tolist()
                result = torch.tensor([[x - left, y - top, x + right, y + bottom]])
                box_loss += 1 - float(paired_iou(result, torch.tensor([[x1, y1, x2, y2]]), "giou"))
                expected = min(x - x1, x2 - x) / max(x - x1, x2 - x) * min(y - y1, y2 - y) / max(y - y1, y2 - y)
                probability = 1 / (1 + math.exp(-centerness[place]))
                expected = math.sqrt(expected)
                centerness_loss -= expected * math.log(probability) + (1 - expected) * math.log(1 - probability)
                count += 1
            losses = -0.25 * truth * (1 - p) ** 2 * p.log() - 0.75 * (1 - truth) * p**2 * (1 - p).log()
            cls += float(losses[states != IGNORED].sum())
        assert count > 3
        losses = head.losses(raw, context_of([PADDED] * 3, targets))
        assert float(losses["fcos_cls"].detach()) == pytest.approx(cls / count, rel=1e-4)
        assert float(losses["fcos_box"].detach()) == pytest.approx(box_loss / count, rel=1e-4)
        assert float(losses["fcos_centerness"].detach()) == pytest.approx(centerness_loss / count, rel=1e-4)

    def test_locations_in_a_crowd_are_not_background(self):
        head = _head()
        raw = _random(head, 0, batch=1)
        sum(
            head.losses(raw, context_of([PADDED], [_crowd(torch.tensor([[0.0, 0.0, 64.0, 96.0]]))])).values()
        ).backward()
        for classes, locations in zip(raw.classes, raw.locations, strict=True):
            inside = locations[:, 0] < 64
            assert (classes.grad[0, inside] == 0).all()
            assert (classes.grad[0, ~inside] != 0).all()

    @pytest.mark.parametrize(
        "targets",
        [[Target.empty()] * 2, [_crowd(EVERYWHERE)] * 2, [Target.empty(), _target(0, 1)], [_target(0), _target(1)]],
        ids=["no objects", "crowds over all", "one without", "objects"],
    )
    def test_have_the_same_names_and_reach_every_parameter(self, targets):
        head = _head()
        losses = head.losses(head(_features(2), context_of(PADDED)), context_of([PADDED] * 2, targets))
        assert losses.keys() == {"fcos_cls", "fcos_box", "fcos_centerness"}
        assert all(loss.ndim == 0 and loss.isfinite() and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()
        assert all(parameter.grad.isfinite().all() for parameter in head.parameters())

    def test_are_float32_under_autocast(self):
        head, targets = _head(), [_target(0), _target(1)]
        with torch.autocast("cpu", torch.bfloat16):
            raw = head(_features(2), context_of(PADDED))
            assert raw.classes[0].dtype == raw.distances[0].dtype == torch.bfloat16
            losses, result = (
                head.losses(raw, context_of([PADDED] * 2, targets)),
                head.decode(raw, context_of([PADDED] * 2)),
            )
        upcast = FCOSOutput(*([x.float() for x in part] for part in raw))
        for name, loss in head.losses(upcast, context_of([PADDED] * 2, targets)).items():
            assert losses[name].dtype == torch.float32
            torch.testing.assert_close(losses[name], loss)
        assert all(detections.boxes.dtype == detections.scores.dtype == torch.float32 for detections in result)


class TestDecode:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_network_that_knows_finds_the_objects(self, seed):
        head = _head()
        boxes = torch.tensor([[8.0, 8, 34, 30], [50, 10, 110, 66], [10, 40, 40, 90]]) + 3 * seed
        target = Target(boxes, torch.tensor([0, 2, 1]))
        locations = _locations(head)
        indices, states = head.match(locations, target)
        counts = [len(level) for level in locations]
        places, level_indices, level_states = torch.cat(locations), indices.split(counts), states.split(counts)
        distances = head.coder.encode(places, boxes[indices]).split(counts)
        classes = []
        for its, state in zip(level_indices, level_states, strict=True):
            truth = torch.nn.functional.one_hot(target.labels[its], CLASSES).bool()
            classes.append(torch.where(truth & (state == FOREGROUND)[:, None], 9.0, -9.0)[None])
        in_strides = [part[None] / stride for part, stride in zip(distances, STRIDES, strict=True)]
        centerness = [torch.full((1, count), 9.0) for count in counts]
        (detections,) = head.decode(FCOSOutput(classes, in_strides, centerness, locations), context_of([PADDED]))
        assert len(detections) == 3
        order = box_iou(boxes, detections.boxes).argmax(dim=1)
        torch.testing.assert_close(detections.boxes[order], boxes, rtol=0, atol=1e-3)
        assert torch.equal(detections.labels[order], target.labels)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_equals_the_recipe_by_hand(self, seed):
        head = _head(postprocess=NMS(iou_threshold=0.4, candidates=40, detections=25))
        raw, sizes = _random(head, seed, requires_grad=False), [(90, 100), (96, 128)]
        for image, (height, width) in enumerate(sizes):
            candidates = []
            for classes, distances, centerness, locations, stride in zip(*raw, STRIDES, strict=True):
                scores = (classes[image].sigmoid() * centerness[image].sigmoid()[:, None]).sqrt()
                pairs = [(float(scores[p, c]), p, c) for p, c in (scores > 0.2).nonzero().tolist()]
                for score, place, label in sorted(pairs, reverse=True)[:40]:
                    (x, y), away = locations[place].tolist(), (distances[image, place] * stride).tolist()
                    box = torch.tensor([x - away[0], y - away[1], x + away[2], y + away[3]])
                    box[0::2], box[1::2] = box[0::2].clamp(0, width), box[1::2].clamp(0, height)
                    candidates.append((score, label, box))
            kept = []
            for score, label, box in sorted(candidates, key=lambda candidate: -candidate[0]):
                rivals = [other for _, its, other in kept if its == label]
                if all(float(box_iou(other[None], box[None])) <= 0.4 for other in rivals):
                    kept.append((score, label, box))
            detections = head.decode(raw, context_of(sizes))[image]
            assert detections.labels.tolist() == [label for _, label, _ in kept[:25]]
            torch.testing.assert_close(detections.boxes, torch.stack([box for _, _, box in kept[:25]]))
            torch.testing.assert_close(detections.scores, torch.tensor([score for score, _, _ in kept[:25]]))

    def test_what_is_not_finite_is_dropped(self):
        head = _head()
        raw = _random(head, 0)
        with torch.no_grad():
            raw.centerness[0][0, :5] = math.nan
            raw.distances[0][0, 5:90] = math.nan
        first, second = head.decode(raw, context_of([PADDED] * 2))
        assert first.boxes.isfinite().all()
        assert first.scores.isfinite().all()
        assert min(len(first), len(second)) > 10


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: FCOSHead([8, 16], [8, 16], 3), r"FCOS.*channels \[8, 16\]"),
        (lambda: FCOSHead([8, 8], [8, 16, 32], 3), r"channels \[8, 8\].*strides \[8, 16, 32\]"),
        (lambda: _head(range_limits=[16.0, 32.0, 64.0]), r"range_limits.*\[8, 16, 32\], got \[16.0, 32.0, 64.0\]"),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()
