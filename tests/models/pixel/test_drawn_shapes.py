"""The shapes that the docstrings of the segmentation models draw."""

import re

import pytest
import torch

from detkit.backbones import ConvolutionalVGG16, UNetEncoder
from detkit.models import FCN, LRASPP, DeepLabV3, DeepLabV3Plus, FCN8s, UNet

SIZE = (128, 192)


def drawn(kind):
    """The drawing in a class's docstring."""
    lines = kind.__doc__.partition("Arg")[0].splitlines()
    return "\n".join(line for line in lines if line.startswith(" " * 8))


def as_drawn(x):
    """``(2048, H/16, W/16)`` of a map of images of `SIZE`."""
    _, channels, height, width = x.shape
    return f"({channels}, H/{SIZE[0] // height}, W/{SIZE[1] // width})"


@pytest.mark.parametrize(
    ("kind", "backbone"),
    [
        (FCN, "resnet50"),
        (DeepLabV3, "resnet50"),
        (DeepLabV3Plus, "resnet50"),
        pytest.param(DeepLabV3Plus, "xception65", marks=pytest.mark.slow),
        (LRASPP, "mobilenet_v3_large"),
    ],
)
def test_maps_have_the_shapes_that_are_drawn(kind, backbone):
    with torch.device("meta"):
        model = kind(backbone, 21)
        images = torch.empty(2, 3, *SIZE)
    maps = model.backbone(images)
    used = [one for one, stage in zip(maps, kind.stages, strict=True) if f"C{stage}" in drawn(kind)]
    assert used
    assert all(as_drawn(one) in drawn(kind) for one in used)
    assert as_drawn(model.raw(images).logits).replace("(21,", "logits (K,") in drawn(kind)


def test_fcn_draws_the_channels_of_its_scored_maps():
    with torch.device("meta"):
        backbone = ConvolutionalVGG16()
    scored = {f"({count}, stride {stride})" for count, stride in zip(backbone.channels, backbone.strides, strict=True)}
    assert set(re.findall(r"\(\d+, stride \d+\)", drawn(FCN8s))) == scored


def test_unet_draws_the_sizes_of_the_papers_figure():
    with torch.device("meta"):
        model, images = UNet(UNetEncoder(), 2), torch.empty(1, 3, 572, 572)
    shapes = [tuple(one.shape[1:]) for one in model.backbone(images)]
    for level in model.head.levels:
        level.register_forward_hook(lambda layer, inputs, output: shapes.append(tuple(output.shape[1:])))
    shapes.append((3, 572, 572))
    logits = model.raw(images).logits
    assert {str(one) for one in shapes} == set(re.findall(r"\(\d+, \d+, \d+\)", drawn(UNet)))
    assert f"logits (K, {logits.shape[2]}, {logits.shape[3]})" in drawn(UNet)
