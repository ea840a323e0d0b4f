"""Every backbone works with every kind of detector: small images, one step."""

from functools import partial

import pytest
import torch
from torch.nn.utils import get_total_norm

from detkit.backbones import CSPDarknet53, Darknet53, catalog
from detkit.backbones.catalog import FAMILIES
from detkit.backbones.classifiers import OWN
from detkit.errors import InputError
from detkit.heads import NMS, RPN, BoxHead, OverFeatHead, TwoFullyConnected
from detkit.models import SSD, FasterRCNN, OverFeat, YOLOv2
from detkit.necks import FPN, ExtraLayers, Neck
from detkit.preprocess import Letterbox, ShortestEdge, Square
from detkit.structures import Target

DARKNETS = {"Darknet53 of detkit": Darknet53, "CSPDarknet53 of detkit": CSPDarknet53}
NAMES = [name for names in FAMILIES.values() for name in names] + list(DARKNETS)
# The chains pad little: on an image of two cells of the others, nothing would be left.
UNPADDED = {
    "alexnet",
    "alexnet_two_towers",
    "zfnet",
    "overfeat_fast",
    "overfeat_accurate",
    "squeezenet1_0",
    "squeezenet1_1",
}
# The others are slow: larger ones of the same families, and families that are ResNets with wider or more convolutions.
QUICK = {
    "alexnet", "alexnet_two_towers", "zfnet", "overfeat_fast", "vgg11", "googlenet", "resnet18", "resnet50",
    "densenet121", "legacy_seresnet18", "squeezenet1_1", "mobilenet_v2", "mobilenet_v3_small", "darknet19", *DARKNETS,
}  # fmt: skip
SIZES = dict.fromkeys(["alexnet", *OWN], 128)


class Coarsest(Neck):
    """The last map alone."""

    def __init__(self, in_channels, strides):
        super().__init__()
        self.channels, self.strides = in_channels[-1:], strides[-1:]

    def forward(self, features):
        return features[-1:]


def faster_rcnn(backbone, size):
    rpn = partial(RPN, postprocess_for_training=NMS(candidates=40, detections=20))
    return FasterRCNN(
        backbone,
        num_classes=2,
        neck=partial(FPN, out_channels=16),
        rpn=rpn,
        box_head=partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16)),
        regions_per_image=16,
        preprocess=ShortestEdge(min_size=size, max_size=size),
    )


def overfeat(backbone, size):
    head = partial(OverFeatHead, pool=2, window=1, class_hidden=(16,), box_hidden=(16,))
    return OverFeat(
        backbone, num_classes=2, scales=(1.0,), head=head, preprocess=ShortestEdge(min_size=size, max_size=size)
    )


def yolo(backbone, size):
    return YOLOv2(backbone, num_classes=2, neck=Coarsest, preprocess=Letterbox((size, size)))


def ssd(backbone, size):
    neck = partial(ExtraLayers, layers=[(16, 24, 3, 2, 1)])
    return SSD(backbone, num_classes=2, neck=neck, preprocess=Square(size))


@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.slow] * (name not in QUICK)) for name in NAMES])
def test_a_backbone_works_with_every_detector(name):
    torch.manual_seed(0)
    backbone = DARKNETS[name]() if name in DARKNETS else catalog.backbone(name)
    size = SIZES.get(name, 64)
    images = [torch.rand(3, size, size) for _ in range(2)]
    targets = [Target(torch.tensor([[10.0, 16, 48, 60]]), torch.tensor([1])), Target.empty()]
    for build in (faster_rcnn, overfeat, yolo, ssd):
        model = build(backbone, size).train()
        if build is yolo and name in UNPADDED:  # cells are not whole strides: a YOLO says so
            with pytest.raises(InputError, match="multiples of"):
                model(images, targets)
            continue
        losses = model(images, targets)
        total = sum(losses.values())
        assert total.isfinite(), (build, losses)
        total.backward()
        gradients = [parameter.grad for parameter in backbone.parameters() if parameter.grad is not None]
        assert gradients
        assert get_total_norm(gradients).isfinite()
        backbone.zero_grad()
