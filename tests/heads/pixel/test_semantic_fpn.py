"""The semantic head of Panoptic FPN against the layers of detectron2, written out from its documentation."""

from functools import partial

import pytest
import torch
from torch.nn import functional as F

from detkit.backbones import TorchvisionBackbone
from detkit.errors import InputError
from detkit.heads import Context, SemanticFPNHead
from detkit.models import SegmentationModel
from detkit.necks import FPN
from detkit.preprocess import Batch


def semantic_logits(weights, maps, groups=32):
    """From maps p2 to p5: convolution, group norm and ReLU, each but that of p2 followed by bilinear x2; their sum."""
    total = 0
    for number, x in enumerate(maps, start=2):
        for layer in range(max(1, number - 2)):
            name = f"p{number}.{2 * layer}"
            x = F.conv2d(x, weights[f"{name}.weight"], padding=1)
            x = F.relu(F.group_norm(x, groups, weights[f"{name}.norm.weight"], weights[f"{name}.norm.bias"]))
            if number > 2:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        total = total + x
    return F.conv2d(total, weights["predictor.weight"], weights["predictor.bias"])


def detectron2_weights(head):
    renamed = {}
    for name, value in head.state_dict().items():
        part, *rest = name.split(".")
        if part == "classes":
            renamed[f"predictor.{rest[0]}"] = value
        else:
            level, layer, kind, tensor = rest
            renamed[f"p{int(level) + 2}.{2 * int(layer)}.{'' if kind == 'conv' else 'norm.'}{tensor}"] = value
    return renamed


@pytest.mark.parametrize("seed", [0, None])
def test_the_layers_are_those_of_detectron2(seed):
    torch.manual_seed(torch.seed() % 2**31 if seed is None else seed)
    head = SemanticFPNHead([16] * 5, [4, 8, 16, 32, 64], 7, hidden=64)
    for parameter in head.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    maps = [torch.randn(2, 16, 64 // 2**level, 96 // 2**level) for level in range(5)]
    expected = semantic_logits(detectron2_weights(head), maps[:4])
    given = head(maps, Context(Batch(torch.zeros(2, 3, 256, 384)))).logits
    assert given.shape == (2, 7, 64, 96)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)


def test_a_segmentation_model_takes_it_on_any_pyramid_and_size():
    torch.manual_seed(0)
    head = partial(SemanticFPNHead, hidden=16, groups=4)
    neck = partial(FPN, out_channels=16)
    model = SegmentationModel(TorchvisionBackbone("resnet18"), 4, head, neck=neck).eval()
    sizes = [(45, 70), (64, 33)]
    answers = model([torch.rand(3, *size) for size in sizes])
    assert [tuple(answer.label_map.shape) for answer in answers] == sizes


def test_what_it_cannot_be_built_with_is_named():
    with pytest.raises(InputError, match=r"strides up to 32, got strides \[64\]"):
        SemanticFPNHead([8], [64], 3)
    with pytest.raises(InputError, match="multiple of groups, got 20 and 32"):
        SemanticFPNHead([8], [4], 3, hidden=20)
