"""RetinaNet's head on raw outputs made by hand: what it learns from, and what it detects."""

import math
from functools import partial

import pytest
import torch
from contexts import context_of

from detkit.errors import InputError
from detkit.heads import NMS, RetinaNetHead, TopK
from detkit.heads.dense.pyramid_decode import best_of_levels
from detkit.heads.dense.retinanet import RetinaNetOutput
from detkit.matching import BACKGROUND, FOREGROUND, IGNORED
from detkit.ops import box_iou
from detkit.ops.iou import paired_iou
from detkit.structures import Target

SEEDS = [0, 1, 2]
CLASSES, PADDED, GRIDS, STRIDES = 3, (96, 128), [(12, 16), (6, 8), (3, 4)], [8, 16, 32]
EVERYWHERE = torch.tensor([[-500.0, -500.0, 900.0, 900.0]])


def _head(**options):
    torch.manual_seed(0)
    return RetinaNetHead([6, 6, 6], STRIDES, CLASSES, **({"convolutions": 1} | options))


def _features(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 6, *grid, generator=generator) for grid in GRIDS]


def _target(seed, count=4, crowded=0):
    """Boxes at least 12 pixels wide and high, far enough from each other that suppression leaves them."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.zeros(0, 4)
    while len(boxes) < count:
        size = 12 + torch.rand(1, 2, generator=generator) * 40
        corner = torch.rand(1, 2, generator=generator) * (torch.tensor([PADDED[1], PADDED[0]]) - size)
        box = torch.cat((corner, corner + size), dim=1)
        if not len(boxes) or box_iou(boxes, box).max() < 0.3:
            boxes = torch.cat((boxes, box))
    labels = torch.randint(CLASSES, (count,), generator=generator)
    return Target(boxes, labels, iscrowd=torch.arange(count) >= count - crowded)


def _crowd(boxes):
    return Target(boxes, torch.zeros(len(boxes), dtype=torch.int64), iscrowd=torch.ones(len(boxes), dtype=torch.bool))


def _random(head, seed, batch=2, requires_grad=True):
    generator = torch.Generator().manual_seed(seed)
    anchors = head.anchor_generator(GRIDS, PADDED)
    classes = [2 * torch.randn(batch, len(level), head.logits, generator=generator) - 3 for level in anchors]
    deltas = [0.4 * torch.randn(batch, len(level), 4, generator=generator) for level in anchors]
    return RetinaNetOutput(
        [x.requires_grad_(requires_grad) for x in classes], [x.requires_grad_(requires_grad) for x in deltas], anchors
    )


class TestForward:
    def test_shapes_follow_the_anchors(self):
        raw = _head(background_logit=True)(_features(2), context_of(PADDED))
        for classes, deltas, anchors, (height, width) in zip(*raw, GRIDS, strict=True):
            count = height * width * 9
            assert (classes.shape, deltas.shape, anchors.shape) == ((2, count, 4), (2, count, 4), (count, 4))

    def test_anchors_are_those_of_the_paper(self):
        """Areas of 32^2 to 512^2 on P3 to P7, at three octave thirds and three shapes."""
        head = RetinaNetHead([1] * 5, [8, 16, 32, 64, 128], 1)
        anchors = head.anchor_generator([(1, 1)] * 5, (128, 128))
        for level, size in zip(anchors, [32, 64, 128, 256, 512], strict=True):
            sides = level[:, 2:] - level[:, :2]
            areas = torch.tensor([size**2 * 4 ** (third / 3) for third in range(3)]).repeat(3)
            # Corners are whole pixels: at most half a pixel off on each side.
            torch.testing.assert_close(sides.prod(dim=1), areas, rtol=4 / size, atol=0)
            shapes = torch.tensor([0.5, 1.0, 2.0]).repeat_interleave(3)
            torch.testing.assert_close(sides[:, 1] / sides[:, 0], shapes, rtol=4 / size, atol=0)

    def test_objects_are_rare_at_first(self):
        raw = _head(convolutions=4)(_features(1), context_of(PADDED))
        probability = torch.cat(raw.classes, dim=1).sigmoid()
        torch.testing.assert_close(probability, torch.full_like(probability, 0.01), rtol=0.05, atol=0)

    def test_channels_of_outputs_belong_to_anchors(self):
        head = _head(aspect_ratios=[1.0])
        with torch.no_grad():
            for layer, count in ((head.classes, 9), (head.deltas, 12)):
                layer.weight.zero_()
                layer.bias.copy_(torch.arange(float(count)))
        raw = head(_features(1), context_of(PADDED))
        assert torch.equal(raw.classes[1][0], torch.arange(9.0).view(3, 3).repeat(48, 1))
        assert torch.equal(raw.deltas[1][0], torch.arange(12.0).view(3, 4).repeat(48, 1))


class TestLosses:
    @pytest.mark.parametrize("seed", SEEDS)
    @pytest.mark.parametrize("box_loss", ["smooth_l1", "l1", "giou"])
    def test_equal_a_sum_by_hand(self, box_loss, seed):
        head = _head(box_loss=box_loss, alpha=0.3, gamma=1.5, background_logit=True)
        targets = [_target(seed, crowded=1), _target(seed + 10, count=1), Target.empty()]
        raw = _random(head, seed, batch=3)
        anchors = torch.cat(raw.anchors)
        classification = regression = 0.0
        for image, target in enumerate(targets):
            indices, states = head.matcher(anchors, target)
            logits, deltas = (torch.cat(part, dim=1)[image].detach() for part in (raw.classes, raw.deltas))
            objects, foreground = target.objects(), max(1, int((states == FOREGROUND).sum()))
            p = logits.double().sigmoid()
            truth = torch.zeros_like(p)
            for anchor in torch.where(states == FOREGROUND)[0].tolist():
                truth[anchor, objects.labels[indices[anchor]]] = 1
                box, delta, its = objects.boxes[indices[anchor]], deltas[anchor], anchors[anchor]
                regression += self._box_loss(box_loss, head, its, delta, box) / foreground / 3
            losses = -0.3 * truth * (1 - p) ** 1.5 * p.log() - 0.7 * (1 - truth) * p**1.5 * (1 - p).log()
            classification += float(losses[states != IGNORED].sum()) / foreground / 3
        losses = head.losses(raw, context_of([PADDED] * 3, targets))
        assert float(losses["retinanet_cls"].detach()) == pytest.approx(classification, rel=1e-4)
        assert float(losses["retinanet_box"].detach()) == pytest.approx(regression, rel=1e-4)

    @staticmethod
    def _box_loss(kind, head, anchor, delta, box):
        if kind == "giou":
            return 1 - float(paired_iou(head.coder.decode(anchor, delta)[None], box[None], "giou"))
        errors = (delta - head.coder.encode(anchor, box)).abs().tolist()
        if kind == "l1":
            return sum(errors)
        return sum(4.5 * e * e if e < 1 / 9 else e - 1 / 18 for e in errors)

    def test_anchors_between_the_thresholds_learn_nothing(self):
        head, target = _head(), _target(0)
        raw = _random(head, 0, batch=1)
        _, states = head.matcher(torch.cat(raw.anchors), target)
        sum(head.losses(raw, context_of([PADDED], [target])).values()).backward()
        gradient = torch.cat([x.grad for x in raw.classes], dim=1)[0]
        for state in (FOREGROUND, BACKGROUND, IGNORED):
            assert (states == state).any()
            assert ((gradient[states == state] != 0).all()) == (state != IGNORED)
        moved = torch.cat([x.grad for x in raw.deltas], dim=1)[0].abs().sum(dim=1) > 0
        assert torch.equal(moved, states == FOREGROUND)

    def test_anchors_in_a_crowd_are_not_background(self):
        head = _head()
        raw = _random(head, 0, batch=1)
        sum(
            head.losses(raw, context_of([PADDED], [_crowd(torch.tensor([[0.0, 0.0, 64.0, 96.0]]))])).values()
        ).backward()
        for classes, anchors in zip(raw.classes, raw.anchors, strict=True):
            inside = (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0) & (anchors[:, 2] <= 64) & (anchors[:, 3] <= 96)
            assert (classes.grad[0, inside] == 0).all()
            assert (classes.grad[0, anchors[:, 0] >= 64] != 0).all()

    @pytest.mark.parametrize(
        "targets",
        [[Target.empty()] * 2, [_crowd(EVERYWHERE)] * 2, [Target.empty(), _target(0, 1)], [_target(0), _target(1)]],
        ids=["no objects", "crowds over all", "one without", "objects"],
    )
    def test_have_the_same_names_and_reach_every_parameter(self, targets):
        head = _head(group_norm=True)
        losses = head.losses(head(_features(2), context_of(PADDED)), context_of([PADDED] * 2, targets))
        assert losses.keys() == {"retinanet_cls", "retinanet_box"}
        assert all(loss.ndim == 0 and loss.isfinite() and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()
        assert all(parameter.grad.isfinite().all() for parameter in head.parameters())

    def test_under_a_crowd_there_is_nothing_to_learn(self):
        head = _head()
        losses = head.losses(head(_features(1), context_of(PADDED)), context_of([PADDED], [_crowd(EVERYWHERE)]))
        assert losses["retinanet_cls"] == losses["retinanet_box"] == 0

    def test_are_float32_under_autocast(self):
        head, targets = _head(box_loss="giou"), [_target(0), _target(1)]
        with torch.autocast("cpu", torch.bfloat16):
            raw = head(_features(2), context_of(PADDED))
            assert raw.classes[0].dtype == raw.deltas[0].dtype == torch.bfloat16
            losses, result = (
                head.losses(raw, context_of([PADDED] * 2, targets)),
                head.decode(raw, context_of([PADDED] * 2)),
            )
        upcast = RetinaNetOutput([x.float() for x in raw.classes], [x.float() for x in raw.deltas], raw.anchors)
        for name, loss in head.losses(upcast, context_of([PADDED] * 2, targets)).items():
            assert losses[name].dtype == torch.float32
            torch.testing.assert_close(losses[name], loss)
        assert all(detections.boxes.dtype == detections.scores.dtype == torch.float32 for detections in result)


class TestDecode:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_network_that_knows_finds_the_objects(self, seed):
        head, target = _head(), _target(seed)
        anchors = head.anchor_generator(GRIDS, PADDED)
        classes, deltas = [], []
        for level in anchors:
            indices, states = head.matcher(level, target)
            truth = torch.nn.functional.one_hot(target.labels[indices], CLASSES).bool()
            classes.append(torch.where(truth & (states == FOREGROUND)[:, None], 9.0, -9.0)[None])
            deltas.append(head.coder.encode(level, target.boxes[indices])[None])
        (detections,) = head.decode(RetinaNetOutput(classes, deltas, anchors), context_of([PADDED]))
        assert len(detections) == len(target)
        order = box_iou(target.boxes, detections.boxes).argmax(dim=1)
        torch.testing.assert_close(detections.boxes[order], target.boxes, rtol=0, atol=1e-3)
        assert torch.equal(detections.labels[order], target.labels)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_equals_the_recipe_by_hand(self, seed):
        head = _head(postprocess=NMS(0.1, 0.4, 40, 25))
        raw, sizes = _random(head, seed, requires_grad=False), [(90, 100), (96, 128)]
        for image, (height, width) in enumerate(sizes):
            candidates = []
            for classes, deltas, anchors in zip(*raw, strict=True):
                scores = classes[image].sigmoid()
                pairs = [(float(scores[a, c]), a, c) for a, c in (scores > 0.1).nonzero().tolist()]
                for score, anchor, label in sorted(pairs, reverse=True)[:40]:
                    box = head.coder.decode(anchors[anchor], deltas[image, anchor])
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

    def test_the_background_logit_is_never_detected(self):
        head = _head(background_logit=True, postprocess=NMS(0.0))
        raw = _random(head, 0)
        raw = raw._replace(classes=[x.detach().index_fill(2, torch.tensor([CLASSES]), -2.0) for x in raw.classes])
        for detections in head.decode(raw, context_of([PADDED] * 2)):
            assert len(detections) > 10
            assert detections.labels.max() < CLASSES
        only = raw._replace(
            classes=[torch.where(torch.arange(4) == CLASSES, 5.0, -math.inf) + 0 * x for x in raw.deltas]
        )
        assert [len(detections) for detections in head.decode(only, context_of([PADDED] * 2))] == [0, 0]

    def test_what_is_not_finite_is_dropped(self):
        head = _head()
        raw = _random(head, 0)
        with torch.no_grad():
            raw.classes[0][0, :5] = math.nan
            raw.deltas[0][0, 5:900] = math.nan
        first, second = head.decode(raw, context_of([PADDED] * 2))
        assert first.boxes.isfinite().all()
        assert first.scores.isfinite().all()
        assert min(len(first), len(second)) > 10
        nothing = raw._replace(classes=[x * math.nan for x in raw.classes])
        assert [len(detections) for detections in head.decode(nothing, context_of([PADDED] * 2))] == [0, 0]


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: RetinaNetHead([8, 16], [8, 16], 3), r"RetinaNet.*channels \[8, 16\]"),
        (lambda: RetinaNetHead([8, 8], [8, 16, 32], 3), r"channels \[8, 8\].*strides \[8, 16, 32\]"),
        (lambda: _head(anchor_sizes=[[32], [64]]), r"strides \[8, 16, 32\], got \[\[32\], \[64\]\]"),
        (lambda: _head(anchor_sizes=[[32, 40], [64], [128]]), r"as many anchor sizes"),
        (partial(_head, box_loss="l2"), "smooth_l1, l1, giou, got 'l2'"),
    ],
)
def test_what_does_not_fit_is_refused(make, words):
    with pytest.raises(InputError, match=words):
        make()


@pytest.mark.parametrize(("threshold", "likely"), [(-1.0, 24), (None, 24), (0.0, 24), (0.5, 12), (1.5, 0)])
@pytest.mark.parametrize("candidates", [12, None])
def test_any_threshold_and_number_of_candidates(threshold, likely, candidates):
    head = RetinaNetHead([6], [8], 3, [[8]], [1.0], convolutions=0)
    head.postprocess = TopK()
    head.postprocess.score_threshold, head.postprocess.candidates = threshold, candidates
    raw = RetinaNetOutput([torch.linspace(-3, 3, 24).view(2, 4, 3)], [torch.zeros(2, 4, 4)], [torch.rand(4, 4) + 1])
    assert sum(len(detections) for detections in head.decode(raw, context_of([(16, 16)] * 2))) == likely


@pytest.mark.parametrize("candidates", [1, 5, 24])
def test_the_candidates_of_a_level_are_its_highest_scores(candidates):
    logits = torch.randn(2, 20, 3, generator=torch.Generator().manual_seed(candidates))
    best = best_of_levels(NMS(candidates=candidates), [logits, logits + 1])
    assert best.counts == [candidates, candidates]
    for level, first in enumerate((0, 20)):
        own = slice(level * candidates, (level + 1) * candidates)
        expected = (logits + level).flatten(1).sort(dim=1, descending=True).values[:, :candidates].sigmoid()
        torch.testing.assert_close(best.scores[:, own], expected)
        locations, labels = best.locations[:, own] - first, best.labels[:, own]
        torch.testing.assert_close((logits + level)[torch.arange(2)[:, None], locations, labels].sigmoid(), expected)
