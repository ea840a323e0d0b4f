import math
from functools import partial

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from detkit.backbones import ImagePyramid, OverFeatAccurate
from detkit.errors import InputError
from detkit.heads import OverFeatHead
from detkit.models import OverFeat
from detkit.preprocess import ShortestEdge
from detkit.structures import Target

CLASSES = 3


@pytest.fixture
def make_overfeat(tiny_backbone):
    def make(scales=(1.0, 0.6)):
        torch.manual_seed(0)
        head = partial(OverFeatHead, pool=2, window=2, class_hidden=(32,), box_hidden=(32,))
        return OverFeat(tiny_backbone(), CLASSES, scales, head, ShortestEdge(min_size=96, max_size=160))

    return make


def test_the_pyramid_is_the_backbone_at_every_scale(tiny_backbone):
    torch.manual_seed(0)
    backbone = tiny_backbone().eval()
    pyramid = ImagePyramid(backbone, [0.5, 1.0, 1.25])
    images = torch.rand(2, 3, 96, 128)
    assert pyramid.strides == [12.8, 16, 32]
    assert pyramid.channels == [32, 32, 32]
    maps = pyramid(images)
    assert [map_.shape[-2:] for map_ in maps] == [(8, 10), (6, 8), (3, 4)]
    assert torch.equal(maps[1], backbone(images)[-1])
    smaller = torch.nn.functional.interpolate(images, size=(48, 64), mode="bilinear", antialias=True)
    torch.testing.assert_close(maps[2], backbone(smaller)[-1])


@pytest.mark.parametrize("scales", [[], [1.0, 0.0]])
def test_scales_must_be_positive(tiny_backbone, scales):
    with pytest.raises(InputError, match="scales must be"):
        OverFeat(tiny_backbone(), CLASSES, scales)


def test_losses_reach_every_parameter(make_overfeat, samples):
    model = make_overfeat()
    losses = model(*samples)
    assert set(losses) == {"overfeat_cls", "overfeat_box"}
    assert losses["overfeat_cls"].item() == pytest.approx(math.log(CLASSES + 1), abs=0.5)
    sum(losses.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert parameter.grad.abs().sum() > 0, name


def test_it_learns_two_images(make_overfeat, samples):
    images, targets = samples
    model = make_overfeat(scales=(1.0, 0.7)).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    torch.manual_seed(0)
    for _ in range(150):
        optimizer.zero_grad()
        sum(model(images, targets).values()).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
    for detections, target in zip(model.predict(images), targets, strict=True):
        best = detections[:2]
        order = best.labels.argsort()
        expected = target.labels.argsort()
        assert best.labels[order].tolist() == target.labels[expected].tolist()
        torch.testing.assert_close(best.boxes[order], target.boxes[expected], rtol=0, atol=8.0)


def test_empty_images_and_images_smaller_than_a_window(make_overfeat):
    model = make_overfeat()
    images = [torch.rand(3, 96, 200), torch.rand(3, 20, 30)]
    losses = model(images, [Target.empty(), Target.empty()])
    assert losses["overfeat_box"] == 0
    sum(losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())
    assert len(model.predict(images)) == 2


@pytest.mark.slow
def test_one_graph(make_overfeat):
    model = make_overfeat().eval()
    images = torch.rand(1, 3, 96, 128)
    compiled = torch.compile(model.raw, fullgraph=True, backend="eager")
    for detections, expected in zip(compiled(images), model.raw(images), strict=True):
        torch.testing.assert_close(detections, expected)


@torch.no_grad()
def test_a_dense_pass_costs_the_backbone_once_and_the_head_once_per_position():
    """The paper's net on 461 x 569: 21 x 30 windows for the price of one pass."""
    with torch.device("meta"):
        model = OverFeat(OverFeatAccurate(strides=[12]), 1000, scales=[1.0])
        image = torch.empty(1, 3, 461, 569)
        whole = _multiply_adds(lambda: model.raw(image))
        backbone = _multiply_adds(lambda: model.backbone(image))
        window = torch.empty(1, 3, 221, 221)
        one_crop, crop_backbone = (
            _multiply_adds(lambda: model.raw(window)),
            _multiply_adds(lambda: model.backbone(window)),
        )
        positions = len(model.raw(image).windows)
    assert positions == 21 * 30
    assert whole == backbone + positions * (one_crop - crop_backbone)
    assert positions * one_crop > 18 * whole


def _multiply_adds(run):
    with FlopCounterMode(display=False) as counter:
        run()
    return counter.get_total_flops() // 2
