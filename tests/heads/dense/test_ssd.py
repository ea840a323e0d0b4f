"""SSD's head against sums by hand, and what it makes of crowds, of no objects, and of low precision."""

import math

import pytest
import torch
from contexts import context_of

from detkit.errors import InputError
from detkit.heads import NMS, SSDHead, SSDliteHead
from detkit.heads.dense.ssd import SSDOutput, select_hardest
from detkit.matching import BACKGROUND, FOREGROUND
from detkit.ops import box_iou
from detkit.structures import Target

CLASSES = 3
STRIDES = [8, 16, 32]
SIZE = (64, 96)
GRIDS = [(8, 12), (4, 6), (2, 3)]
SEEDS = [0, 1, 2]


def _head(kind=SSDHead, **options):
    torch.manual_seed(0)
    sizes = [14, 24, 40, 64]
    return kind([8, 12, 16], STRIDES, CLASSES, **({"sizes": sizes} | options))


def _features(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(batch, c, *grid, generator=generator) for c, grid in zip((8, 12, 16), GRIDS, strict=True)]


def _objects(seed, count=4):
    generator = torch.Generator().manual_seed(seed)
    corners = torch.rand(count, 2, 2, generator=generator).sort(dim=1).values * torch.tensor([80.0, 50.0])
    boxes = corners.flatten(1) + torch.tensor([0.0, 0.0, 10.0, 10.0])
    return Target(boxes, torch.randint(0, CLASSES, (count,), generator=generator))


def _random(head, batch, seed):
    generator = torch.Generator().manual_seed(seed)
    boxes = torch.cat(head.default_boxes(GRIDS, SIZE))
    logits = 2 * torch.randn(batch, len(boxes), CLASSES + 1, generator=generator)
    return SSDOutput(logits, torch.randn(batch, len(boxes), 4, generator=generator), boxes)


class TestForward:
    @pytest.mark.parametrize("kind", [SSDHead, SSDliteHead])
    def test_outputs_stand_where_their_default_boxes_do(self, kind):
        """A change of one cell of one map changes the outputs of default boxes centered near it alone."""
        head = _head(kind).eval()
        features = _features(1)
        changed = [x.clone() for x in features]
        changed[1][0, :, 1, 4] += 1
        before, after = head(features, context_of(SIZE)), head(changed, context_of(SIZE))
        count = len(torch.cat(head.default_boxes(GRIDS, SIZE)))
        assert before.logits.shape == (1, count, CLASSES + 1)
        assert before.deltas.shape == (1, count, 4)
        moved = ((before.logits != after.logits).any(-1) & (before.deltas != after.deltas).any(-1))[0]
        centers = (before.default_boxes[moved, :2] + before.default_boxes[moved, 2:]) / 2
        assert len(centers) == 9 * head.default_boxes.per_location[1]  # a 3x3 convolution
        assert centers.amin(dim=0).tolist() == pytest.approx([56, 8])
        assert centers.amax(dim=0).tolist() == pytest.approx([88, 40])

    def test_default_sizes_are_the_papers(self):
        head = SSDHead([8] * 6, [8, 16, 32, 64, 64, 64], 20)
        assert head.default_boxes.per_location == [4, 6, 6, 6, 4, 4]
        side = head.default_boxes.shapes0[0] * 300
        assert side.tolist() == pytest.approx([30, 30])

    def test_deltas_are_the_authors_with_their_variances(self):
        prior, box = torch.tensor([[10.0, 20.0, 50.0, 40.0]]), torch.tensor([[18.0, 14.0, 48.0, 54.0]])
        # Centers (30, 30) and (33, 34), sizes (40, 20) and (30, 40); variances 0.1 and 0.2.
        expected = [3 / 40 / 0.1, 4 / 20 / 0.1, math.log(30 / 40) / 0.2, math.log(40 / 20) / 0.2]
        deltas = _head().coder.encode(prior, box)
        assert deltas[0].tolist() == pytest.approx(expected, rel=1e-5)
        torch.testing.assert_close(_head().coder.decode(prior, deltas), box)


class TestLosses:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_equal_a_sum_by_hand(self, seed):
        head = _head()
        targets = [_objects(seed), _objects(seed + 10, count=1), Target.empty()]
        raw = _random(head, 3, seed)
        classification, regression, count = 0.0, 0.0, 0
        for image, target in enumerate(targets):
            indices, states = head.matcher(raw.default_boxes, target)
            log = raw.logits[image].log_softmax(dim=1)
            background = sorted((-log[states == BACKGROUND, CLASSES]).tolist(), reverse=True)
            positives = torch.where(states == FOREGROUND)[0].tolist()
            for box in positives:
                classification -= float(log[box, target.labels[indices[box]]])
                expected = head.coder.encode(raw.default_boxes[box], target.boxes[indices[box]])
                errors = (raw.deltas[image, box] - expected).abs().tolist()
                regression += sum(0.5 * e * e if e < 1 else e - 0.5 for e in errors)
            classification += sum(background[: 3 * len(positives)])
            count += len(positives)
        losses = head.losses(raw, context_of([SIZE] * 3, targets))
        assert losses["ssd_cls"] == pytest.approx(classification / count, rel=1e-4)
        assert losses["ssd_box"] == pytest.approx(regression / count, rel=1e-4)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_network_that_knows_has_none(self, seed):
        head = _head()
        target = _objects(seed)
        raw = _perfect(head, target)
        assert all(loss < 1e-5 for loss in head.losses(raw, context_of([SIZE], [target])).values())

    def test_only_positives_and_the_hardest_background_learn(self):
        head = _head(negatives_per_positive=2)
        target = _objects(0)
        raw = _random(head, 1, 0)
        raw.logits.requires_grad_()
        head.losses(raw, context_of([SIZE], [target]))["ssd_cls"].backward()
        learned = (raw.logits.grad != 0).any(dim=2)[0]
        _, states = head.matcher(raw.default_boxes, target)
        positives = int((states == FOREGROUND).sum())
        assert learned[states == FOREGROUND].all()
        assert learned.sum() == 3 * positives
        certainty = raw.logits[0].softmax(dim=1)[:, CLASSES]
        background = states == BACKGROUND
        assert certainty[learned & background].max() < certainty[~learned & background].min()

    def test_crowds_are_never_background(self):
        head = _head()
        crowd = torch.tensor([[0.0, 0.0, 60.0, 64.0]])
        boxes = torch.cat((crowd, torch.tensor([[70.0, 20, 90, 40]])))
        target = Target(boxes, torch.tensor([1, 2]), iscrowd=torch.tensor([True, False]))
        raw = _random(head, 1, 0)
        centers = (raw.default_boxes[:, 0] + raw.default_boxes[:, 2]) / 2
        raw.logits[0, centers < 50] = torch.tensor([9.0, 9.0, 9.0, -9.0])  # the hardest, were they background
        raw.logits.requires_grad_()
        losses = head.losses(raw, context_of([SIZE], [target]))
        losses["ssd_cls"].backward()
        inside = raw.default_boxes[:, 2] <= 60
        assert inside.sum() > 50
        assert (raw.logits.grad[0, inside] == 0).all()
        assert (raw.logits.grad != 0).any()

    @pytest.mark.parametrize("kind", [SSDHead, SSDliteHead])
    @pytest.mark.parametrize(
        "targets",
        [
            [Target.empty(), Target.empty()],
            [Target(torch.tensor([[-9.0, -9.0, 99.0, 99.0]]), torch.tensor([0]), iscrowd=torch.tensor([True]))] * 2,
            [Target.empty(), _objects(0)],
        ],
        ids=["no objects", "crowds over all", "one without"],
    )
    def test_have_the_same_names_and_reach_every_parameter(self, kind, targets):
        head = _head(kind)
        losses = head.losses(head(_features(2), context_of(SIZE)), context_of([SIZE] * 2, targets))
        assert losses.keys() == {"ssd_cls", "ssd_box"}
        assert all(loss.ndim == 0 and loss.isfinite() and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()
        assert all(parameter.grad is not None for parameter in head.parameters())
        if not any(len(target.objects()) for target in targets):
            assert losses["ssd_cls"] == losses["ssd_box"] == 0


class TestDecode:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_detections_of_a_network_that_knows_are_the_objects(self, seed):
        head = _head()
        target = _objects(seed, count=CLASSES)
        target = Target(target.boxes, torch.arange(CLASSES))  # of a class each, so that none suppresses another
        (detections,) = head.decode(_perfect(head, target), context_of([SIZE]))
        best_iou, best = box_iou(target.boxes, detections.boxes).max(dim=1)
        sides = torch.tensor([SIZE[1], SIZE[0]] * 2)
        assert (best_iou > 0.99)[(target.boxes <= sides).all(dim=1)].all()
        assert torch.equal(detections.labels[best], target.labels)

    @pytest.mark.parametrize("seed", SEEDS)
    def test_equals_the_recipe_by_hand(self, seed):
        head = _head(postprocess=NMS(0.2, 0.5, 20, 25))
        raw, (height, width) = _random(head, 1, seed), SIZE
        boxes = head.coder.decode(raw.default_boxes, raw.deltas[0])
        boxes[:, 0::2], boxes[:, 1::2] = boxes[:, 0::2].clamp(0, width), boxes[:, 1::2].clamp(0, height)
        scores, kept = raw.logits[0].softmax(dim=1), []
        for label in range(CLASSES):
            order = scores[:, label].argsort(descending=True)[:20]
            stays = []
            for row in order[scores[order, label] > 0.2].tolist():
                if all(box_iou(boxes[row, None], boxes[other, None]) <= 0.5 for other in stays):
                    stays.append(row)
            kept += [(float(scores[row, label]), label, boxes[row]) for row in stays]
        kept = sorted(kept, key=lambda one: -one[0])[:25]
        (detections,) = head.decode(raw, context_of([SIZE]))
        assert detections.scores.tolist() == pytest.approx([score for score, _, _ in kept])
        assert detections.labels.tolist() == [label for _, label, _ in kept]
        torch.testing.assert_close(detections.boxes, torch.stack([box for _, _, box in kept]))

    def test_what_is_not_finite_is_dropped(self):
        head = _head()
        raw = _random(head, 1, 0)
        raw.logits[0, :5], raw.deltas[0, 5:9] = math.nan, math.nan
        (detections,) = head.decode(raw, context_of([SIZE]))
        assert len(detections) > 10
        assert detections.boxes.isfinite().all()
        assert detections.scores.isfinite().all()
        assert len(head.decode(raw._replace(logits=raw.logits * math.nan), context_of([SIZE]))[0]) == 0


def test_hardest_are_counted_among_the_eligible():
    errors = torch.tensor([[5.0, 4, 3, 2, 1], [1.0, 2, 3, 4, 5]])
    eligible = torch.tensor([[False, True, True, False, True], [True, False, True, True, False]])
    selected = select_hardest(errors, eligible, torch.tensor([2, 9]))
    assert selected.tolist() == [[False, True, True, False, False], [True, False, True, True, False]]
    assert not select_hardest(errors, eligible, torch.tensor([0, 0])).any()


class TestMixedPrecision:
    @pytest.mark.parametrize("kind", [SSDHead, SSDliteHead])
    def test_losses_and_detections_are_float32(self, kind):
        head, targets = _head(kind), [_objects(0), _objects(1)]
        with torch.autocast("cpu", torch.bfloat16):
            raw = head(_features(2), context_of(SIZE))
            assert raw.deltas.dtype == raw.logits.dtype == torch.bfloat16
            losses, detections = (
                head.losses(raw, context_of([SIZE] * 2, targets)),
                head.decode(raw, context_of([SIZE] * 2)),
            )
        upcast = SSDOutput(raw.logits.float(), raw.deltas.float(), raw.default_boxes)
        for name, loss in head.losses(upcast, context_of([SIZE] * 2, targets)).items():
            assert losses[name].dtype == torch.float32
            assert torch.equal(losses[name], loss)
        for low, full in zip(detections, head.decode(upcast, context_of([SIZE] * 2)), strict=True):
            assert torch.equal(low.boxes, full.boxes)
        sum(losses.values()).backward()
        assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


class TestLevels:
    def test_must_be_as_many(self):
        with pytest.raises(InputError, match=r"channels \[8, 8\] and strides \[8\]"):
            SSDHead([8, 8], [8], 2)
        with pytest.raises(InputError, match=r"aspect ratios \[\[2\]\]"):
            SSDHead([8, 8], [8, 16], 2, aspect_ratios=[[2]])

    def test_have_scales_or_sizes(self):
        with pytest.raises(InputError, match="scales or sizes"):
            SSDHead([8], [8], 2, scales=[0.1, 0.2], sizes=[10, 20])

    @pytest.mark.parametrize("levels", [1, 2, 7])
    def test_may_be_any_number(self, levels):
        strides = [8 * 2**level for level in range(levels)]
        for kind in (SSDHead, SSDliteHead):
            head = kind([4] * levels, strides, 2).eval()
            raw = head(
                [torch.rand(1, 4, max(1, 64 // stride), max(1, 64 // stride)) for stride in strides],
                context_of((64, 64)),
            )
            assert raw.logits.shape[1] == len(raw.default_boxes)


def _perfect(head, target):
    """The outputs of a network that knows."""
    boxes = torch.cat(head.default_boxes(GRIDS, SIZE))
    indices, states = head.matcher(boxes, target)
    labels = torch.where(states == FOREGROUND, target.labels[indices], CLASSES)
    logits = 40 * torch.nn.functional.one_hot(labels, CLASSES + 1).float()
    return SSDOutput(logits[None], head.coder.encode(boxes, target.boxes[indices])[None], boxes)
