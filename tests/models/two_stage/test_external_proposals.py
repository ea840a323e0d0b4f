"""Fast R-CNN and R-CNN: two-stage detectors whose regions come from outside."""

from dataclasses import replace
from functools import partial

import pytest
import torch

from detkit.errors import InputError
from detkit.heads import AveragePool, BoxHead, Context, Regions, SVMBoxHead, TwoFullyConnected
from detkit.models import RCNN, FastRCNN, RegionWarp, TwoStageDetector
from detkit.preprocess import CenterCrop, Letterbox, OriginalSize, ShortestEdge
from detkit.proposals import Proposals
from detkit.structures import Target

SMALL = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16))


class Grid(Proposals):
    """Boxes of three sizes all over the image; none in one of 90 pixels across, if it is to skip those."""

    identity = "grid"

    def __init__(self, skip=False):
        self.skip = skip

    def __call__(self, image):
        height, width = image.shape[1:]
        if self.skip and width == 90:
            return torch.zeros(0, 4)
        boxes = [
            [x, y, min(x + size, width), min(y + size, height)]
            for size in (24, 40, 60)
            for y in range(0, height - 12, 16)
            for x in range(0, width - 12, 16)
        ]
        return torch.tensor(boxes, dtype=torch.float32)


class OneLevel(torch.nn.Module):
    """The stem of the tiny backbone alone."""

    def __init__(self):
        super().__init__()
        self.channels, self.strides = [12], [8]
        self.stem = torch.nn.Sequential(
            torch.nn.Conv2d(3, 12, 5, stride=4, padding=2), torch.nn.ReLU(), torch.nn.MaxPool2d(2)
        )

    def forward(self, images):
        return [self.stem(images)]


def _fast(**options):
    torch.manual_seed(0)
    parts = {
        "backbone": OneLevel(), "num_classes": 3, "proposals": Grid(), "box_head": SMALL,
        "preprocess": ShortestEdge(min_size=100, max_size=160),
    }  # fmt: skip
    return FastRCNN(**(parts | options))


def _rcnn(**options):
    torch.manual_seed(0)
    parts = {
        "backbone": OneLevel(), "num_classes": 3, "proposals": Grid(), "layers": AveragePool,
        "region_pool": RegionWarp(32, 4), "regions_per_image": 16,
    }  # fmt: skip
    return RCNN(**(parts | options))


MODELS = {"fast": _fast, "rcnn": _rcnn}


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
class TestBoth:
    def test_losses_have_names_and_reach_every_parameter(self, make, samples):
        model = make().train()
        losses = model(*samples)
        assert losses.keys() == {"box_cls", "box_reg"}
        assert all(loss > 0 for loss in losses.values())
        sum(losses.values()).backward()
        assert all(parameter.grad.abs().sum() > 0 for parameter in model.parameters())

    def test_nothing_to_learn_from(self, make, samples):
        model = make(proposals=Grid(skip=True)).train()
        losses = model([samples[0][1]], [Target.empty()])
        assert losses.keys() == {"box_cls", "box_reg"}
        assert all(loss == 0 and loss.requires_grad for loss in losses.values())
        sum(losses.values()).backward()

    def test_detections_lie_in_the_images(self, make, samples):
        model = make().eval()
        model.box_head.postprocess.score_threshold = 0.0
        with torch.no_grad():
            result = model(samples[0])
        for image, detections in zip(samples[0], result, strict=True):
            assert 50 < len(detections) <= 100
            assert (detections.boxes >= 0).all()
            size = torch.tensor([image.shape[2], image.shape[1]]) + 1e-3
            assert (detections.boxes[:, 2:] <= size).all()

    def test_an_image_without_proposals_has_no_detections(self, make, samples):
        model = make(proposals=Grid(skip=True)).eval()
        model.box_head.postprocess.score_threshold = 0.0
        with torch.no_grad():
            first, second = model(samples[0])
            (alone,) = model(samples[0][1:])
        assert len(first) > 0 == len(second) == len(alone)

    def test_one_image_is_the_same_alone(self, make, samples):
        model = make().eval()
        model.box_head.postprocess.score_threshold = 0.0
        with torch.no_grad():
            together, alone = model(samples[0])[1], model(samples[0][1:])[0]
        torch.testing.assert_close(together.scores, alone.scores)


def test_fast_rcnn_samples_background_that_is_near_objects(samples):
    model = _fast()
    boxes = torch.tensor([[12.0, 10, 40, 50], [14, 12, 42, 52], [30, 40, 70, 80], [100, 80, 120, 96]])
    context = Context(OriginalSize()(samples[0][:1]), samples[1][:1])
    sampled = model.region_sampler(Regions.of_images([boxes]), context)
    background = sampled.boxes[sampled.labels < 0]
    assert background.tolist() == [[30, 40, 70, 80]]


def test_rcnn_says_the_same_in_parts(samples, monkeypatch):
    model = _rcnn().eval()
    model.box_head.postprocess.score_threshold = 0.0
    with torch.no_grad():
        expected = model(samples[0])
        monkeypatch.setattr("detkit.heads.region.region_features._REGIONS_AT_ONCE", 7)
        detections = model(samples[0])
    for one, other in zip(detections, expected, strict=True):
        torch.testing.assert_close(one.scores, other.scores)
        torch.testing.assert_close(one.boxes, other.boxes, atol=1e-3, rtol=0)


def test_svm_scores_are_sigmoids_of_margins_once_fitted():
    torch.manual_seed(0)
    head = SVMBoxHead(3, 4, 2, trunk=partial(TwoFullyConnected, hidden=8))
    raw = head.answer(head.trunk(torch.rand(5, 3, 4, 4)))
    torch.testing.assert_close(head.scores(raw), raw.logits.softmax(dim=1)[:, :2])
    head.fitted.fill_(True)
    torch.testing.assert_close(head.scores(raw), raw.logits[:, :2].sigmoid())


def test_regions_come_from_one_place(make_model):
    model = _fast()
    parts = {
        name: getattr(model, name) for name in ("preprocess", "backbone", "region_sampler", "region_pool", "box_head")
    }
    with pytest.raises(InputError, match="either from an rpn or from proposals"):
        TwoStageDetector(3, neck=None, rpn=make_model().rpn, proposals=Grid(), **parts)


@pytest.mark.parametrize("make", MODELS.values(), ids=MODELS)
class TestGiven:
    def test_proposals_are_as_good_as_the_models_own(self, make, samples):
        images, targets = samples
        own, asking = make().eval(), make(proposals=None).eval()
        assert own.asks_for == frozenset()
        assert asking.asks_for == {"proposals"}
        for model in (own, asking):
            model.box_head.postprocess.score_threshold = 0.0
        given = [Target(proposals=Grid()(image)) for image in images]
        with torch.no_grad():
            expected, result = own(images), asking(images, given=given)
        for one, other in zip(result, expected, strict=True):
            assert len(one) > 0
            assert torch.equal(one.boxes, other.boxes)
            assert torch.equal(one.scores, other.scores)
        torch.manual_seed(3)
        wanted = own(images, targets)
        torch.manual_seed(3)
        in_targets = [replace(target, proposals=boxes.proposals) for target, boxes in zip(targets, given, strict=True)]
        assert asking(images, in_targets) == wanted

    def test_none_at_all_are_asked_for_by_name(self, make, samples):
        model = make(proposals=None).eval()
        with pytest.raises(InputError, match=r"asks for proposals of each image.*given=\[Target\(proposals="):
            model(samples[0])
        with pytest.raises(InputError, match=r"given\[1\].*proposals is missing"):
            model(samples[0], given=[Target(proposals=torch.zeros(0, 4)), Target()])

    @pytest.mark.parametrize("preprocess", [Letterbox((128, 128)), CenterCrop((128, 128), 150)])
    def test_proposals_are_cropped_where_they_are_in_the_networks_frame(self, make, samples, preprocess):
        model, seen = make(proposals=None, preprocess=preprocess).eval(), []
        model.region_pool.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[2].boxes))
        model([samples[0][0]], given=[Target(proposals=torch.tensor([[60.0, 30, 110, 80]]))])
        expected = preprocess.place((96, 128)).boxes(torch.tensor([[60.0, 30, 110, 80]]))
        torch.testing.assert_close(seen[0], expected)
