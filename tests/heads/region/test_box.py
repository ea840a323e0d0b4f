"""The box branch on raw outputs made by hand."""

import math
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pytest
import torch
from contexts import context_of
from torch import Tensor

from detkit.heads import NMS, BoxHead, Regions, TopK, TwoFullyConnected
from detkit.heads.region.box import BoxOutput
from detkit.ops import box_iou
from detkit.structures import Detections, Target

SEEDS = [0, 1, 2]
CLASSES = 5
SMALL = partial(TwoFullyConnected, hidden=16)
SIZE = (200, 300)


def _head(**options):
    torch.manual_seed(0)
    return BoxHead(in_channels=3, resolution=4, num_classes=CLASSES, trunk=SMALL, **options)


def _boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corner = torch.rand(count, 2, generator=generator) * 150
    return torch.cat((corner, corner + 10 + torch.rand(count, 2, generator=generator) * 40), dim=1)


class Image(NamedTuple):
    """The sampled regions of an image, and the box of each one's object, of background the region itself."""

    boxes: Tensor
    labels: Tensor
    matched_boxes: Tensor


def _regions(foreground, background, seed):
    generator = torch.Generator().manual_seed(seed)
    labels = torch.cat((torch.randint(0, CLASSES, (foreground,), generator=generator), torch.full((background,), -1)))
    boxes = _boxes(foreground + background, seed)
    matched = boxes + torch.rand(boxes.shape, generator=generator) * 4 - 2
    matched[foreground:] = boxes[foreground:]
    return Image(boxes, labels, matched)


def _no_regions():
    return Image(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4))


def _sampled(images):
    """The regions of a batch, and its context: each foreground region has an object of its own."""
    regions = Regions.of_images([image.boxes for image in images], [image.labels for image in images])
    is_object = [image.labels >= 0 for image in images]
    objects = [
        Target(image.matched_boxes[rows], image.labels[rows]) for image, rows in zip(images, is_object, strict=True)
    ]
    matched = torch.cat(is_object).cumsum(0) - 1
    return replace(regions, matched=matched), context_of([SIZE] * len(images), objects)


def _losses(head, raw, images):
    regions, context = _sampled(images)
    return head.losses(raw, regions, {}, context)


def _decode(head, raw, proposals, sizes):
    return head.decode(raw, Regions.of_images(proposals), {}, None, context_of(sizes))


def _perfect(head, images, certainty=30.0):
    """The raw output of a network that knows: right class, and deltas of that class that lead to the object."""
    labels = torch.cat([image.labels for image in images])
    classes = torch.where(labels >= 0, labels, CLASSES)
    logits = torch.zeros(len(labels), CLASSES + 1)
    logits[torch.arange(len(labels)), classes] = certainty
    deltas = torch.full((len(labels), CLASSES, 4), 7.0)  # nonsense for the other classes
    expected = head.coder.encode(
        torch.cat([image.boxes for image in images]), torch.cat([image.matched_boxes for image in images])
    )
    foreground = torch.where(labels >= 0)[0]
    deltas[foreground, labels[foreground]] = expected[foreground]
    return BoxOutput(logits, deltas)


def _answer(head, crops):
    """What `head` says of regions that look like `crops`."""
    regions = Regions.of_images([torch.zeros(len(crops), 4)])
    return head(lambda regions: crops, regions, {}, context_of([SIZE]))


class TestForward:
    def test_shapes(self):
        raw = _answer(_head(), torch.randn(9, 3, 4, 4))
        assert raw.logits.shape == (9, CLASSES + 1)
        assert raw.deltas.shape == (9, CLASSES, 4)

    def test_no_regions(self):
        raw = _answer(_head(), torch.zeros(0, 3, 4, 4))
        assert raw.logits.shape == (0, CLASSES + 1)
        assert raw.deltas.shape == (0, CLASSES, 4)

    def test_starts_undecided_and_near_its_regions(self):
        raw = _answer(_head(), torch.rand(50, 3, 4, 4))
        assert (raw.logits.softmax(dim=1) - 1 / (CLASSES + 1)).abs().max() < 0.05
        assert raw.deltas.abs().max() < 0.05


class TestLosses:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_a_network_that_knows_has_none(self, seed):
        head, regions = _head(), [_regions(6, 20, seed), _regions(3, 5, seed + 10)]
        losses = _losses(head, _perfect(head, regions), regions)
        assert losses.keys() == {"box_cls", "box_reg"}
        assert max(losses.values()) < 1e-6

    @pytest.mark.parametrize("seed", SEEDS)
    def test_equal_a_sum_by_hand(self, seed):
        head, regions = _head(), [_regions(6, 20, seed), _no_regions(), _regions(0, 4, seed + 10)]
        generator = torch.Generator().manual_seed(seed)
        raw = BoxOutput(
            torch.randn(30, CLASSES + 1, generator=generator), torch.randn(30, CLASSES, 4, generator=generator)
        )
        labels = torch.cat([sampled.labels for sampled in regions]).tolist()
        classification, regression = 0.0, 0.0
        for row, label in enumerate(labels):
            logits = raw.logits[row].tolist()
            right = logits[label] if label >= 0 else logits[CLASSES]
            classification += math.log(sum(map(math.exp, logits))) - right
            if label >= 0:
                expected = head.coder.encode(regions[0].boxes[row], regions[0].matched_boxes[row])
                error = (raw.deltas[row, label] - expected).abs().tolist()
                regression += sum(4.5 * e * e if e < 1 / 9 else e - 1 / 18 for e in error)
        losses = _losses(head, raw, regions)
        assert float(losses["box_cls"]) == pytest.approx(classification / 30, rel=1e-4)
        assert float(losses["box_reg"]) == pytest.approx(regression / 30, rel=1e-4)

    def test_of_the_deltas_those_of_the_class_learn(self):
        head, regions = _head(), [_regions(4, 3, 0)]
        raw = BoxOutput(torch.zeros(7, CLASSES + 1), torch.zeros(7, CLASSES, 4, requires_grad=True))
        _losses(head, raw, regions)["box_reg"].backward()
        learned = {tuple(pair) for pair in raw.deltas.grad.abs().sum(dim=2).nonzero().tolist()}
        assert learned == {(row, int(label)) for row, label in enumerate(regions[0].labels) if label >= 0}

    @pytest.mark.parametrize(
        "regions",
        [[_no_regions()], [_no_regions(), _no_regions()], [_regions(0, 5, 0)], [_regions(2, 0, 0), _no_regions()]],
        ids=["none", "none of two", "background", "one without"],
    )
    def test_have_the_same_names_and_reach_every_parameter(self, regions):
        head = _head()
        count = sum(len(sampled.labels) for sampled in regions)
        losses = _losses(head, _answer(head, torch.rand(count, 3, 4, 4)), regions)
        assert losses.keys() == {"box_cls", "box_reg"}
        assert all(loss.ndim == 0 and loss.isfinite() and loss.requires_grad for loss in losses.values())
        assert (count > 0) == bool(losses["box_cls"] > 0)
        sum(losses.values()).backward()
        assert all(parameter.grad is not None for parameter in head.parameters())


class TestDecode:
    @pytest.mark.parametrize("seed", SEEDS)
    def test_detections_of_a_network_that_knows_are_the_objects(self, seed):
        head = _head(postprocess=NMS(iou_threshold=0.99))
        regions = [_regions(6, 20, seed), _regions(0, 4, seed), _regions(3, 0, seed + 10)]
        result = _decode(head, _perfect(head, regions), [sampled.boxes for sampled in regions], [SIZE] * 3)
        for detections, sampled in zip(result, regions, strict=True):
            objects = sampled.labels >= 0
            boxes = sampled.matched_boxes[objects].clamp(min=0)
            assert len(detections) == len(boxes)
            assert (detections.scores > 0.999).all()
            if len(boxes):
                best, index = box_iou(boxes, detections.boxes).max(dim=1)
                assert best.min() > 0.999
                assert torch.equal(detections.labels[index], sampled.labels[objects])

    @pytest.mark.parametrize("seed", SEEDS)
    def test_scores_are_softmax_and_boxes_those_of_the_class(self, seed):
        head = _head(postprocess=NMS(score_threshold=0.0, iou_threshold=1.0, detections=1000))
        generator = torch.Generator().manual_seed(seed)
        raw = BoxOutput(
            torch.randn(8, CLASSES + 1, generator=generator), 0.3 * torch.randn(8, CLASSES, 4, generator=generator)
        )
        proposals = _boxes(8, seed)
        (detections,) = _decode(head, raw, [proposals], [(1000, 1000)])
        assert len(detections) == 8 * CLASSES
        scores = raw.logits.softmax(dim=1)
        for region in range(8):
            for label in range(CLASSES):
                match = (detections.labels == label) & (detections.scores - scores[region, label]).abs().lt(1e-6)
                box = head.coder.decode(proposals[region], raw.deltas[region, label]).clamp(0, 1000)
                torch.testing.assert_close(detections.boxes[match], box[None], rtol=1e-5, atol=1e-3)

    def test_images_do_not_mix(self):
        head = _head(postprocess=NMS(score_threshold=0.0))
        counts = [4, 0, 7]
        raw = _answer(head, torch.randn(11, 3, 4, 4) * 30)
        proposals, sizes = [_boxes(count, count) for count in counts], [(200, 300), (50, 60), (90, 300)]
        together = _decode(head, raw, proposals, sizes)
        rows = torch.arange(11).split(counts)
        for index, detections, boxes, size in zip(rows, together, proposals, sizes, strict=True):
            (alone,) = _decode(head, BoxOutput(raw.logits[index], raw.deltas[index]), [boxes], [size])
            for name in ("boxes", "scores", "labels"):
                assert torch.equal(getattr(alone, name), getattr(detections, name))
            assert (detections.boxes <= torch.tensor([size[1], size[0]] * 2)).all()

    @pytest.mark.parametrize("images", [1, 2])
    def test_no_proposals_give_no_detections(self, images):
        head = _head()
        result = _decode(head, _answer(head, torch.zeros(0, 3, 4, 4)), [torch.zeros(0, 4)] * images, [SIZE] * images)
        assert [len(detections) for detections in result] == [0] * images
        assert all(isinstance(detections, Detections) for detections in result)

    def test_what_is_not_finite_is_dropped(self):
        head = _head(postprocess=NMS(score_threshold=0.0))
        raw = BoxOutput(torch.zeros(3, CLASSES + 1), torch.zeros(3, CLASSES, 4))
        raw.logits[0] = math.nan
        raw.deltas[1] = math.inf
        (detections,) = _decode(head, raw, [_boxes(3, 0)], [SIZE])
        torch.testing.assert_close(detections.boxes, _boxes(3, 0)[2:].expand(CLASSES, 4))


class TestMixedPrecision:
    def test_losses_and_detections_are_float32(self):
        torch.manual_seed(0)
        head, regions = _head(postprocess=NMS(score_threshold=0.0)), [_regions(6, 20, 0)]
        with torch.autocast("cpu", torch.bfloat16):
            raw = _answer(head, torch.randn(26, 3, 4, 4))
            assert raw.logits.dtype == raw.deltas.dtype == torch.bfloat16
            losses = _losses(head, raw, regions)
            (detections,) = _decode(head, raw, [regions[0].boxes], [SIZE])
        assert all(loss.dtype == torch.float32 and loss.isfinite() for loss in losses.values())
        upcast = BoxOutput(raw.logits.float(), raw.deltas.float())
        (expected,) = _decode(head, upcast, [regions[0].boxes], [SIZE])
        assert len(detections) > 10
        assert torch.equal(detections.boxes, expected.boxes)
        assert torch.equal(detections.scores, expected.scores)
        sum(losses.values()).backward()
        assert all(parameter.grad.isfinite().all() for parameter in head.parameters())


class TestPostprocess:
    def test_is_a_part(self):
        head = _head(postprocess=TopK(score_threshold=0.0, detections=3))
        boxes = _boxes(1, 0).expand(4, 4)
        raw = BoxOutput(torch.randn(4, CLASSES + 1), torch.zeros(4, CLASSES, 4))
        (detections,) = _decode(head, raw, [boxes], [SIZE])
        torch.testing.assert_close(detections.scores, head.scores(raw).flatten().topk(3).values)

    def test_old_arguments_and_attributes_still_work(self):
        with pytest.warns(
            DeprecationWarning, match=r"^BoxHead\(\w+=...\) is BoxHead\(postprocess=NMS\(\w+=...\)\) now$"
        ):
            head = _head(nms_threshold=0.4, score_threshold=0.2, detections_per_image=7)
        part = head.postprocess
        assert (part.iou_threshold, part.score_threshold, part.detections) == (0.4, 0.2, 7)
        with pytest.warns(
            DeprecationWarning, match="BoxHead.score_threshold is BoxHead.postprocess.score_threshold now"
        ):
            head.score_threshold = 0.3
        assert part.score_threshold == 0.3
