"""`tools/benchmark.py models`: that the parts of a detector's time are told apart, on one that takes none."""

import json
from functools import partial

import pytest
import torch
from benchmarks import models, part_timer, random_models
from fake_clock import FakeClock
from rich.console import Console
from torch import nn

from detkit.backbones import Darknet53, TorchvisionBackbone
from detkit.heads import BoxHead, TwoFullyConnected, YOLOv3Head
from detkit.models import RCNN, CascadeRCNN, RegionWarp, YOLOv3
from detkit.preprocess import Letterbox, ShortestEdge
from detkit.proposals import Proposals


@pytest.fixture
def clock(monkeypatch):
    """The clock that is read."""
    clock = FakeClock()
    monkeypatch.setattr(models, "time", clock)
    monkeypatch.setattr(part_timer, "time", clock)
    return clock


class SlowGrid(Proposals):
    """Boxes all over the image, after a while."""

    identity = "slow grid"

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def __call__(self, image):
        self.clock.advance(0.02)
        x, y = torch.meshgrid(torch.arange(10) * 60.0, torch.arange(8) * 60.0, indexing="xy")
        return torch.stack((x, y, x + 50, y + 50), dim=-1).flatten(0, 1)


class Twin(nn.Module):
    """Answers as torchvision's do, after a while."""

    score_thresh = 0.05

    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def forward(self, images):
        self.clock.advance(0.05)
        return [{"scores": torch.ones(3)} for _ in images]


def yolo():
    return YOLOv3(Darknet53(0.05, [1] * 5), 80, preprocess=Letterbox((64, 64)))


def slowed(clock, seconds, run):
    """A function that takes `seconds`."""

    def slow(*arguments):
        clock.advance(seconds)
        return run(*arguments)

    return slow


def slow_down(clock, module, seconds):
    module.forward = slowed(clock, seconds, module.forward)


def measured(model, theirs=None):
    random_models.prepare(model.eval(), "cpu")
    stopwatch = part_timer.Stopwatch("cpu", threads=2)
    return models.measure("small", model, theirs, stopwatch, batch_size=2, repetitions=3, longest=60)


def test_each_part_of_the_time_and_the_twin(clock, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(YOLOv3Head, "decode", slowed(clock, 0.04, YOLOv3Head.decode))
    model, twin = yolo(), Twin(clock)
    slow_down(clock, model.preprocess, 0.03)
    slow_down(clock, model.backbone, 0.008)
    slow_down(clock, model.neck, 0.002)
    slow_down(clock, model.head, 0.02)
    one = measured(model, twin)
    assert one.candidates == pytest.approx(random_models.CANDIDATES, abs=2)
    parts = {"proposals": 0, "preprocess": 0.03, "backbone": 0.01, "head": 0.02, "decoding": 0.04}
    assert one.parts == pytest.approx(parts)
    assert one.seconds == pytest.approx(0.1)
    assert one.share("decoding") == pytest.approx(0.4)
    assert twin.score_thresh == model.head.postprocess.score_threshold
    assert (one.torchvision_detections, one.repetitions) == (3, 3)
    assert one.torchvision_seconds == pytest.approx(0.05)
    assert one.ratio == pytest.approx(0.5)


def test_class_scores_are_spread_and_boxes_stay():
    torch.manual_seed(0)
    model = yolo().eval()
    before = [layer.weight.detach().unflatten(0, (-1, 85)).clone() for layer in model.head.predict]
    random_models.prepare(model, "cpu")
    with torch.no_grad():
        raw = model.raw(model.preprocess([random_models.cloud_image("cpu")]).images)
    for level, layer, weight in zip(raw, model.head.predict, before, strict=True):
        assert level[..., 5:].std() == pytest.approx(random_models.SPREAD, rel=0.1)
        assert level[..., 4].mean() < -2  # objects are rare
        assert torch.equal(layer.weight.unflatten(0, (-1, 85))[:, :4], weight[:, :4])


def test_heads_in_a_chain_and_parts_called_one_by_one(clock):
    torch.manual_seed(0)
    box_head = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16))
    backbone = TorchvisionBackbone("mobilenet_v3_small", stages=[3, 4, 5])
    cascade = CascadeRCNN(backbone, 3, partial(box_head, class_agnostic=True), preprocess=ShortestEdge(64, 128))
    slow_down(clock, [head for head in cascade.box_head.modules() if isinstance(head, BoxHead)][1], 0.02)
    assert measured(cascade).parts["head"] == pytest.approx(0.02)

    backbone = TorchvisionBackbone("squeezenet1_1", stages=[4])
    layers = partial(TwoFullyConnected, hidden=8)
    rcnn = RCNN(backbone, 3, SlowGrid(clock), layers, BoxHead, RegionWarp(64, 8))
    slow_down(clock, rcnn.box_head.trunk, 0.02)
    one = measured(rcnn)
    assert one.parts["head"] == pytest.approx(0.02)
    assert one.parts["proposals"] == pytest.approx(0.04)  # of two images


def test_the_table_and_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(models, "BUILDERS", {})
    monkeypatch.setattr(models, "OWN", {"small yolo": yolo, "another": yolo})
    threads = torch.get_num_threads()
    with (console := Console(width=300)).capture() as capture:
        monkeypatch.setattr(models, "Console", lambda: console)
        models.benchmark("cpu", 1, 1, 3, 60, "yolo", tmp_path / "models.json")
    torch.set_num_threads(threads)
    assert "small yolo" in capture.get()
    assert "another" not in capture.get()
    (one,) = json.loads((tmp_path / "models.json").read_text())["measurements"]
    assert one["decoding_share"] == pytest.approx(one["parts"]["decoding"] / sum(one["parts"].values()))
