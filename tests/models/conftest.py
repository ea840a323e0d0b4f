"""A detector small enough to train within a test, on two drawn images."""

import sys
from functools import partial

import pytest
import torch
from tiny_backbone import TinyBackbone
from torch import nn

from detkit.heads import NMS, RPN, BoxHead, TwoFullyConnected
from detkit.models import FasterRCNN, RegionAlign
from detkit.necks import FPN
from detkit.preprocess import ShortestEdge
from detkit.structures import Target

CLASSES = 3


@pytest.fixture(autouse=True)
def forget_compiled_code():
    """Dynamo compiles a function eight times at most, and all single-stage detectors have the same `raw`."""
    yield
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()


@pytest.fixture(scope="package")
def tiny_backbone():
    """The class of the small backbone."""
    return TinyBackbone


@pytest.fixture(scope="package")
def make_model():
    """Builds the detector, with other options where a test needs them."""

    def make(seed=0, score_threshold=0.05, **options):
        torch.manual_seed(seed)
        parts = {
            "backbone": TinyBackbone(),
            "num_classes": CLASSES,
            "neck": partial(FPN, out_channels=32, extra_levels=None),
            "rpn": partial(
                RPN,
                anchor_sizes=[[16], [32], [64]],
                samples_per_image=64,
                postprocess_for_training=NMS(candidates=200, detections=100),
                postprocess=NMS(candidates=200, detections=20),
            ),
            "box_head": partial(
                BoxHead,
                trunk=partial(TwoFullyConnected, hidden=64),
                postprocess=NMS(score_threshold=score_threshold),
            ),
            "region_pool": RegionAlign(canonical_size=64),
            "regions_per_image": 64,
            "preprocess": ShortestEdge(min_size=96, max_size=160),
        }
        return FasterRCNN(**(parts | options))

    return make


@pytest.fixture(scope="package")
def samples():
    """Two images of bright rectangles of three colors on dark noise, and their ground truth."""
    generator = torch.Generator().manual_seed(0)
    first = (torch.rand(3, 96, 128, generator=generator) * 60).to(torch.uint8)
    second = (torch.rand(3, 120, 90, generator=generator) * 60).to(torch.uint8)
    first[0, 10:50, 12:40] = 220
    first[1, 30:80, 60:110] = 200
    second[2, 40:110, 6:50] = 210
    second[0, 15:50, 66:86] = 220
    targets = [
        Target(torch.tensor([[12.0, 10, 40, 50], [60, 30, 110, 80]]), torch.tensor([0, 1]), image_id="first"),
        Target(torch.tensor([[6.0, 40, 50, 110], [66, 15, 86, 50]]), torch.tensor([2, 0]), image_id="second"),
    ]
    return [first, second], targets


@pytest.fixture(scope="package")
def trained(make_model, samples):
    """The detector after some seconds on the two images, in evaluation mode."""
    torch.manual_seed(0)
    model, steps = make_model().train(), 220
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=2e-3, total_steps=steps, pct_start=0.1)
    for _ in range(steps):
        optimizer.zero_grad()
        sum(model(*samples).values()).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 5.0)
        optimizer.step()
        schedule.step()
    return model.eval()
