"""darknet's backbones: their maps have the promised shapes, at any width."""

import pytest
import torch

from detkit.backbones import CSPDarknet53, CSPDarknetTiny, Darknet19, Darknet53, DarknetTiny, YOLOv1Backbone
from detkit.errors import InputError

BACKBONES = [YOLOv1Backbone, Darknet19, DarknetTiny, Darknet53, CSPDarknet53, CSPDarknetTiny]


@pytest.mark.parametrize("build", BACKBONES)
@pytest.mark.parametrize("width", [0.03, 0.1, 0.25])
def test_maps_have_the_promised_channels_and_strides(build, width):
    backbone = build(width, stages=(1, 2, 3, 4, 5))
    assert backbone.strides == [2, 4, 8, 16, 32]
    for x, channels, stride in zip(
        backbone(torch.rand(2, 3, 64, 128)), backbone.channels, backbone.strides, strict=True
    ):
        assert x.shape == (2, channels, 64 // stride, 128 // stride)


@pytest.mark.parametrize(
    ("build", "channels", "convolutions"),
    [
        (YOLOv1Backbone, [1024], 24),
        (Darknet19, [512, 1024], 18),
        (DarknetTiny, [256, 1024], 7),
        (Darknet53, [256, 512, 1024], 52),
        (CSPDarknet53, [256, 512, 1024], 72),
        (CSPDarknetTiny, [256, 512], 15),
    ],
)
def test_is_as_deep_and_wide_as_published(build, channels, convolutions):
    with torch.device("meta"):
        backbone = build()
    assert backbone.channels == channels
    assert sum(isinstance(module, torch.nn.Conv2d) for module in backbone.modules()) == convolutions


def test_stages_that_are_not_asked_for_are_not_built():
    assert len(Darknet53(0.05, stages=(3,)).stages) == 3


def test_unknown_stages_are_an_error():
    with pytest.raises(InputError, match=r"Darknet19 has no stages \[6\]: it has 1 to 5"):
        Darknet19(0.1, stages=(5, 6))
