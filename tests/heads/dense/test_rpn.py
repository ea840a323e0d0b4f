"""The proposal head on raw outputs made by hand: what it learns from, and what it proposes."""

import math

import pytest
import torch
from contexts import context_of

from detkit.errors import InputError
from detkit.heads import NMS, RPN, TopK
from detkit.heads.dense.rpn import RPNOutput
from detkit.matching import BACKGROUND, FOREGROUND
from detkit.ops import box_iou
from detkit.structures import Target

SEEDS = [0, 1, 2]
PADDED, GRIDS, STRIDES = (96, 128), [(12, 16), (6, 8), (3, 4)], [8, 16, 32]
SIZES = [[16], [32], [64]]


def _rpn(**options):
    torch.manual_seed(0)
    return RPN([6, 6, 6], STRIDES, SIZES, **options)


def _features(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, 6, *grid, generator=generator) for grid in GRIDS]


def _objects(seed, count=4):
    """Boxes at least 12 pixels wide and high, far enough from each other that NMS leaves them."""
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.zeros(0, 4)
    while len(boxes) < count:
        size = 12 + torch.rand(1, 2, generator=generator) * 40
        corner = torch.rand(1, 2, generator=generator) * (torch.tensor([PADDED[1], PADDED[0]]) - size)
        box = torch.cat((corner, corner + size), dim=1)
        if not len(boxes) or box_iou(boxes, box).max() < 0.3:
            boxes = torch.cat((boxes, box))
    return boxes


def _target(boxes, iscrowd=None):
    return Target(boxes, torch.zeros(len(boxes), dtype=torch.int64), iscrowd=iscrowd)


def _perfect(rpn, targets):
    """The raw output of a network that knows: every anchor's deltas lead to its best object."""
    anchors = rpn.anchor_generator(GRIDS, PADDED)
    objectness, deltas = [], []
    for level in anchors:
        matches = [rpn.matcher(torch.cat(anchors), target) for target in targets]
        iou = [box_iou(target.boxes, level) for target in targets]
        boxes = [target.boxes[overlap.argmax(dim=0)] for target, overlap in zip(targets, iou, strict=True)]
        deltas.append(torch.stack([rpn.coder.encode(level, box) for box in boxes]))
        offset = sum(map(len, anchors[: len(objectness)]))
        states = torch.stack([state[offset : offset + len(level)] for _, state in matches])
        objectness.append(torch.where(states == FOREGROUND, 20.0, -20.0))
    return RPNOutput(objectness, deltas, anchors)


def _requiring_gradient(raw):
    return RPNOutput(
        [x.clone().requires_grad_() for x in raw.objectness],
        [x.clone().requires_grad_() for x in raw.deltas],
        raw.anchors,
    )


def _context(images, targets=None):
    return context_of([PADDED] * images, targets)


def _proposals(rpn, raw, sizes, for_training=False):
    """The proposed boxes of each image."""
    context = context_of(sizes, [Target.empty()] * len(sizes) if for_training else None, PADDED)
    regions = rpn.propose(raw, context)
    return [regions.boxes[rows] for rows in regions.slices(len(sizes))]


class TestForward:
    def test_shapes_follow_the_anchors(self):
        rpn = _rpn(aspect_ratios=(0.5, 1.0))
        raw = rpn(_features(3), _context(3))
        for objectness, deltas, anchors, (height, width) in zip(*raw, GRIDS, strict=True):
            assert objectness.shape == (3, height * width * 2)
            assert deltas.shape == (3, height * width * 2, 4)
            assert anchors.shape == (height * width * 2, 4)

    def test_outputs_are_in_the_order_of_the_anchors(self):
        """A feature at one cell alone moves the outputs of the anchors around that cell alone."""
        rpn = _rpn()
        quiet = [torch.zeros(1, 6, *grid) for grid in GRIDS]
        loud = [feature.clone() for feature in quiet]
        loud[0][:, :, 5, 9] = 100.0
        before, after = rpn(quiet, _context(1)), rpn(loud, _context(1))
        for name in ("objectness", "deltas"):
            change = (
                (getattr(after, name)[0] - getattr(before, name)[0]).abs().reshape(1, before.anchors[0].shape[0], -1)
            )
            changed = change.sum(dim=(0, 2)) > 1e-6
            centers = (before.anchors[0][changed, :2] + before.anchors[0][changed, 2:]) / 2
            # A 3 x 3 convolution: the cell (5, 9) and its neighbors, 8 pixels apart.
            assert (centers - torch.tensor([9.0, 5.0]) * 8).abs().max() <= 8
            assert changed.sum() == 9 * 3

    def test_channels_of_outputs_belong_to_anchors(self):
        rpn = _rpn()
        with torch.no_grad():
            rpn.objectness.weight.zero_()
            rpn.objectness.bias.copy_(torch.tensor([1.0, 2.0, 3.0]))
            rpn.deltas.weight.zero_()
            rpn.deltas.bias.copy_(torch.arange(12.0))
        raw = rpn(_features(1), _context(1))
        assert torch.equal(raw.objectness[1][0], torch.tensor([1.0, 2.0, 3.0]).repeat(48))
        assert torch.equal(raw.deltas[1][0], torch.arange(12.0).view(3, 4).repeat(48, 1))

    def test_levels_share_the_head(self):
        rpn = _rpn()
        feature = _features(2)[2]
        raw = RPN([6, 6], [8, 16])  # sizes of 8 strides
        raw.load_state_dict(rpn.state_dict())
        first, second = raw([feature, feature], _context(2)).objectness
        assert torch.equal(first, second)

    def test_anchors_have_eight_strides_by_default(self):
        rpn = RPN([6, 6, 6], STRIDES, aspect_ratios=[1.0])
        for level, stride in zip(rpn(_features(1), _context(1)).anchors, STRIDES, strict=True):
            assert torch.equal(level[0], torch.tensor([-4.0, -4.0, 4.0, 4.0]) * stride)


class TestLosses:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_network_that_knows_has_none(self, seed):
        rpn = _rpn()
        targets = [_target(_objects(seed)), _target(_objects(seed + 10, count=2))]
        losses = rpn.losses(_perfect(rpn, targets), _context(len(targets), targets))
        assert losses["rpn_box"] < 1e-6
        assert losses["rpn_cls"] < 1e-6

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_wrong_delta_costs(self, seed):
        rpn = _rpn(samples_per_image=10_000, foreground_fraction=1.0)
        targets = [_target(_objects(seed))]
        raw = _perfect(rpn, targets)
        _, states = rpn.matcher(torch.cat(raw.anchors), targets[0])
        shifted = raw._replace(deltas=[deltas + torch.tensor([0.05, 0, 0, 1.0]) for deltas in raw.deltas])
        # Quadratic below 1/9, linear above.
        cost = 0.5 * 0.05**2 * 9 + (1.0 - 1 / 18)
        foreground, sampled = int((states == FOREGROUND).sum()), int((states != -1).sum())
        expected = cost * foreground / sampled
        assert rpn.losses(shifted, _context(len(targets), targets))["rpn_box"] == pytest.approx(expected, rel=1e-4)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_equal_a_sum_by_hand(self, seed):
        """With a sample of all anchors there is no chance in it."""
        rpn = _rpn(samples_per_image=10_000, foreground_fraction=1.0)
        targets = [_target(_objects(seed)), _target(_objects(seed + 10, count=1)), Target.empty()]
        raw = RPNOutput(*([x.detach() for x in part] for part in rpn(_features(3, seed), _context(3))))
        raw = raw._replace(objectness=[100 * x for x in raw.objectness], deltas=[30 * x for x in raw.deltas])
        anchors = torch.cat(raw.anchors)
        classification, regression, count = 0.0, 0.0, 0
        for image, target in enumerate(targets):
            indices, states = rpn.matcher(anchors, target)
            logits, deltas = (torch.cat(part, dim=1)[image] for part in (raw.objectness, raw.deltas))
            for anchor in range(len(anchors)):
                if states[anchor] == FOREGROUND:
                    classification += math.log1p(math.exp(-logits[anchor]))
                    expected = rpn.coder.encode(anchors[anchor], target.boxes[indices[anchor]])
                    error = (deltas[anchor] - expected).abs().tolist()
                    regression += sum(4.5 * e * e if e < 1 / 9 else e - 1 / 18 for e in error)
                elif states[anchor] == BACKGROUND:
                    classification += math.log1p(math.exp(logits[anchor]))
                count += int(states[anchor] != -1)
        losses = rpn.losses(raw, _context(len(targets), targets))
        assert losses["rpn_cls"] == pytest.approx(classification / count, rel=1e-4)
        assert losses["rpn_box"] == pytest.approx(regression / count, rel=1e-4)

    def test_only_sampled_anchors_learn(self):
        torch.manual_seed(3)
        rpn = _rpn(samples_per_image=16, foreground_fraction=0.5)
        targets = [_target(_objects(0)), _target(_objects(1))]
        raw = _requiring_gradient(_perfect(rpn, targets))
        raw = raw._replace(objectness=[torch.zeros_like(x).requires_grad_() for x in raw.objectness])
        losses = rpn.losses(raw, _context(len(targets), targets))
        assert losses["rpn_cls"].item() == pytest.approx(math.log(2), rel=1e-5)
        sum(losses.values()).backward()
        learned = torch.cat([x.grad for x in raw.objectness], dim=1) != 0
        assert learned.sum(dim=1).tolist() == [16, 16]
        for image, target in enumerate(targets):
            _, states = rpn.matcher(torch.cat(raw.anchors), target)
            drawn = states[learned[image]]
            assert (drawn == FOREGROUND).sum() == min(8, (states == FOREGROUND).sum())
            assert (drawn != -1).all()

    @pytest.mark.parametrize(
        "targets",
        [
            [Target.empty(), Target.empty()],
            [_target(torch.tensor([[-500.0, -500.0, 900.0, 900.0]]), torch.tensor([True]))] * 2,
            [Target.empty(), _target(torch.tensor([[10.0, 10.0, 40.0, 50.0]]))],
        ],
        ids=["no objects", "crowds over all", "one without"],
    )
    def test_have_the_same_names_and_reach_every_parameter(self, targets):
        rpn = _rpn()
        losses = rpn.losses(rpn(_features(2), _context(2)), _context(len(targets), targets))
        assert losses.keys() == {"rpn_cls", "rpn_box"}
        assert all(loss.ndim == 0 and loss.isfinite() and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()
        assert all(parameter.grad is not None for parameter in rpn.parameters())

    def test_under_a_crowd_there_is_nothing_to_learn(self):
        rpn = _rpn()
        crowd = _target(torch.tensor([[-500.0, -500.0, 900.0, 900.0]]), torch.tensor([True]))
        losses = rpn.losses(rpn(_features(1), _context(1)), _context(1, [crowd]))
        assert losses["rpn_cls"] == losses["rpn_box"] == 0

    def test_anchors_in_a_crowd_are_not_background(self):
        torch.manual_seed(0)
        rpn = _rpn(samples_per_image=10_000)
        region = torch.tensor([[0.0, 0.0, 64.0, 96.0]])
        raw = _requiring_gradient(RPNOutput(*([x.detach() for x in part] for part in rpn(_features(1), _context(1)))))
        sum(rpn.losses(raw, _context(1, [_target(region, torch.tensor([True]))])).values()).backward()
        for objectness, anchors in zip(raw.objectness, raw.anchors, strict=True):
            inside = (anchors[:, 0] >= 0) & (anchors[:, 1] >= 0) & (anchors[:, 2] <= 64) & (anchors[:, 3] <= 96)
            outside = anchors[:, 0] >= 64
            assert (objectness.grad[0, inside] == 0).all()
            assert (objectness.grad[0, outside] != 0).all()


class TestDecode:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_proposals_of_a_network_that_knows_are_the_objects(self, seed):
        rpn = _rpn(postprocess=NMS(iou_threshold=0.5))
        targets = [_target(_objects(seed)), _target(_objects(seed + 10, count=2))]
        raw = _perfect(rpn, targets)
        for proposals, target in zip(_proposals(rpn, raw, [PADDED, PADDED]), targets, strict=True):
            best = box_iou(target.boxes, proposals[: 3 * len(target)]).max(dim=1).values
            assert best.min() > 0.99

    @pytest.mark.parametrize("seed", SEEDS)
    def test_equals_the_recipe_by_hand(self, seed):
        rpn = _rpn(postprocess=NMS(iou_threshold=0.6, candidates=40, detections=25))
        raw, sizes = self._random(rpn, seed), [(90, 100), (96, 128)]
        for image, (height, width) in enumerate(sizes):
            kept = []
            for objectness, deltas, anchors in zip(*raw, strict=True):
                order = objectness[image].argsort(descending=True)[:40]
                boxes = rpn.coder.decode(anchors[order], deltas[image, order])
                boxes[:, 0::2] = boxes[:, 0::2].clamp(0, width)
                boxes[:, 1::2] = boxes[:, 1::2].clamp(0, height)
                stays = []
                for row, box in enumerate(boxes):
                    size = box[2:] - box[:2]
                    overlaps = [float(box_iou(boxes[other : other + 1], box[None])) for other in stays]
                    if size.min() >= 1e-3 and all(overlap <= 0.6 for overlap in overlaps):
                        stays.append(row)
                kept += [(float(objectness[image, order[row]]), boxes[row]) for row in stays]
            kept.sort(key=lambda pair: -pair[0])
            expected = torch.stack([box for _, box in kept[:25]])
            torch.testing.assert_close(_proposals(rpn, raw, sizes)[image], expected)

    def test_proposals_lie_in_the_image_not_in_the_padding(self):
        rpn = _rpn()
        first, second = _proposals(rpn, self._random(rpn, 0), [(60, 50), (96, 128)])
        assert len(first) > 10
        assert (first.amin(dim=0) >= 0).all()
        assert (first.amax(dim=0) <= torch.tensor([50, 60, 50, 60])).all()
        assert (second.amax(dim=0) > torch.tensor([50, 60, 50, 60])).all()

    def test_training_keeps_its_own_numbers(self):
        few = NMS(iou_threshold=1.0, candidates=20, detections=8)
        rpn = _rpn(postprocess=few, postprocess_for_training=NMS(iou_threshold=1.0, candidates=60, detections=30))
        raw = self._random(rpn, 0)
        raw = raw._replace(deltas=[torch.zeros_like(deltas) for deltas in raw.deltas])  # anchors, all of them usable
        detecting, training = _proposals(rpn, raw, [PADDED] * 2), _proposals(rpn, raw, [PADDED] * 2, for_training=True)
        assert [len(boxes) for boxes in detecting] == [8, 8]
        assert [len(boxes) for boxes in training] == [30, 30]
        # 60 candidates of three levels of 576, 144 and 36 anchors: 60 + 60 + 36.
        many = _rpn(postprocess_for_training=NMS(iou_threshold=1.0, candidates=60, detections=1000))
        assert [len(boxes) for boxes in _proposals(many, raw, [PADDED] * 2, for_training=True)] == [156, 156]

    def test_images_do_not_mix(self):
        rpn = _rpn()
        raw = self._random(rpn, 4)
        together = _proposals(rpn, raw, [PADDED, (70, 80)])
        for image, size in enumerate([PADDED, (70, 80)]):
            one = RPNOutput([x[image, None] for x in raw.objectness], [x[image, None] for x in raw.deltas], raw.anchors)
            torch.testing.assert_close(_proposals(rpn, one, [size])[0], together[image])

    def test_what_is_not_finite_is_dropped(self):
        rpn = _rpn()
        raw = self._random(rpn, 0)
        raw.objectness[0][0, :5] = math.nan
        raw.deltas[0][0, 5:9] = math.nan
        raw.deltas[1][0, 3] = math.inf
        first, second = _proposals(rpn, raw, [PADDED] * 2)
        assert first.isfinite().all()
        assert len(first) > 10
        nothing = RPNOutput([x * math.nan for x in raw.objectness], raw.deltas, raw.anchors)
        assert [tuple(boxes.shape) for boxes in _proposals(rpn, nothing, [PADDED] * 2)] == [(0, 4), (0, 4)]
        assert len(second) > 10

    def test_proposals_pass_no_gradient(self):
        rpn = _rpn()
        raw = rpn(_features(1), _context(1))
        assert raw.deltas[0].requires_grad
        assert not _proposals(rpn, raw, [PADDED])[0].requires_grad

    @staticmethod
    def _random(rpn, seed):
        generator = torch.Generator().manual_seed(seed)
        anchors = rpn.anchor_generator(GRIDS, PADDED)
        objectness = [torch.randn(2, len(level), generator=generator) for level in anchors]
        deltas = [0.4 * torch.randn(2, len(level), 4, generator=generator) for level in anchors]
        return RPNOutput(objectness, deltas, anchors)


class TestMixedPrecision:
    def test_losses_and_proposals_are_float32(self):
        torch.manual_seed(0)
        rpn = _rpn(samples_per_image=10_000)
        targets = [_target(_objects(0)), _target(_objects(1))]
        with torch.autocast("cpu", torch.bfloat16):
            raw = rpn(_features(2), _context(2))
            assert raw.deltas[0].dtype == raw.objectness[0].dtype == torch.bfloat16
            losses, proposals = rpn.losses(raw, _context(len(targets), targets)), _proposals(rpn, raw, [PADDED] * 2)
        assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
        assert all(boxes.dtype == torch.float32 for boxes in proposals)
        upcast = RPNOutput([x.float() for x in raw.objectness], [x.float() for x in raw.deltas], raw.anchors)
        for boxes, expected in zip(proposals, _proposals(rpn, upcast, [PADDED] * 2), strict=True):
            assert torch.equal(boxes, expected)
        torch.manual_seed(0)
        sum(losses.values()).backward()
        assert all(parameter.grad.isfinite().all() for parameter in rpn.parameters())


class TestLevels:
    def test_of_different_channels_are_refused_with_their_channels(self):
        with pytest.raises(InputError, match=r"channels \[8, 16\]"):
            RPN([8, 16], [8, 16])

    def test_and_anchor_sizes_must_be_as_many(self):
        with pytest.raises(InputError, match=r"anchor sizes \[\[32\], \[64\]\] for levels with strides \[4, 8, 16\]"):
            RPN([8, 8, 8], [4, 8, 16], anchor_sizes=[[32], [64]])

    def test_have_as_many_anchor_sizes_each(self):
        with pytest.raises(InputError, match=r"as many anchor sizes on every level, got \[\[32, 40\], \[64\]\]"):
            RPN([8, 8], [8, 16], anchor_sizes=[[32, 40], [64]])

    def test_and_strides_must_be_as_many(self):
        with pytest.raises(InputError, match=r"channels \[8, 8\].*strides \[8, 16, 32\]"):
            RPN([8, 8], [8, 16, 32])

    def test_there_must_be_one(self):
        with pytest.raises(InputError, match=r"channels \[\]"):
            RPN([], [])


class TestCandidates:
    def test_are_all_anchors_of_all_images_with_gradients(self):
        rpn = _rpn()
        raw = rpn(_features(2), _context(2))
        candidates = rpn.candidates(raw, _context(2))
        places = sum(map(len, raw.anchors))
        assert candidates.boxes.shape == (2 * places, 4)
        assert candidates.logits.shape == (2 * places, 0)  # an RPN asks of no class
        assert torch.equal(candidates.image_index, torch.arange(2).repeat_interleave(places))
        assert torch.equal(candidates.objectness, torch.cat(raw.objectness, dim=1).flatten())
        expected = rpn.coder.decode(torch.cat(raw.anchors), torch.cat(raw.deltas, dim=1)[1])
        assert torch.equal(candidates.boxes[places:], expected)
        (candidates.boxes.sum() + candidates.objectness.sum()).backward()
        assert all(parameter.grad is not None for parameter in rpn.parameters())

    @pytest.mark.parametrize("seed", SEEDS)
    def test_each_stands_for_an_object_of_the_batch_for_background_or_for_nothing(self, seed):
        rpn = _rpn()
        crowd = torch.tensor([False, True, False])
        targets = [_target(_objects(seed, 3), crowd), Target(), _target(_objects(seed + 10, 2))]
        raw = rpn(_features(3), _context(3))
        first, unknown, last = rpn.assign(raw, _context(3, targets)).view(3, -1)
        assert (unknown == -2).all()
        for assigned, target, before in ((first, targets[0], 0), (last, targets[2], 2)):
            indices, states = rpn.matcher(torch.cat(raw.anchors), target)
            assert torch.equal(assigned == -1, states == BACKGROUND)
            assert torch.equal(assigned >= 0, states == FOREGROUND)
            assert torch.equal(assigned[assigned >= 0], indices[states == FOREGROUND] + before)


class TestPostprocess:
    def test_is_a_part(self):
        rpn = _rpn(postprocess=TopK(detections=50))
        raw = rpn(_features(1), _context(1))
        raw = raw._replace(deltas=[torch.zeros_like(deltas) for deltas in raw.deltas])
        (proposals,) = _proposals(rpn, raw, [PADDED])
        scores, boxes = torch.cat(raw.objectness, dim=1)[0], torch.cat(raw.anchors)
        limits = torch.tensor([PADDED[1], PADDED[0]]).repeat(2)
        assert torch.equal(proposals, boxes[scores.topk(50).indices].clamp(min=0).minimum(limits))

    def test_old_arguments_and_attributes_still_work(self):
        with pytest.warns(DeprecationWarning, match=r"^RPN\(\w+=...\) is RPN\(postprocess\w*=NMS\(\w+=...\).* now$"):
            rpn = _rpn(nms_threshold=0.6, candidates_for_training=60, proposals=8, score_threshold=0.1)
        detecting, training = rpn.postprocess, rpn.postprocess_for_training
        assert (detecting.iou_threshold, detecting.candidates, detecting.detections) == (0.6, 1000, 8)
        assert (training.iou_threshold, training.candidates, training.detections) == (0.6, 60, 2000)
        assert detecting.score_threshold == training.score_threshold == 0.1
        with pytest.warns(DeprecationWarning, match="RPN.score_threshold is RPN.postprocess.score_threshold and"):
            rpn.score_threshold = 2.0
        assert detecting.score_threshold == training.score_threshold == 2.0
        with pytest.warns(DeprecationWarning, match="RPN.proposals is"):
            assert rpn.proposals == 8


def test_a_target_without_boxes_teaches_nothing():
    torch.manual_seed(0)
    rpn = _rpn(samples_per_image=10_000)
    raw = _requiring_gradient(RPNOutput(*([x.detach() for x in part] for part in rpn(_features(2), _context(2)))))
    sum(rpn.losses(raw, _context(2, [Target(), Target.empty()])).values()).backward()
    taught = torch.cat([x.grad for x in raw.objectness], dim=1) != 0
    assert not taught[0].any()
    assert taught[1].all()  # in an image without objects everything is background


def test_samples_are_drawn_from_the_generator():
    rpn = _rpn(samples_per_image=8)
    raw, targets = rpn(_features(1), _context(1)), [_target(_objects(0))]
    losses = []
    for seed in (1, 1, 2):
        context = context_of([PADDED], targets, generator=torch.Generator().manual_seed(seed))
        losses.append(rpn.losses(raw, context)["rpn_cls"].item())
    assert losses[0] == losses[1] != losses[2]
