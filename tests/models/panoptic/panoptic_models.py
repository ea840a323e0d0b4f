"""A small Panoptic FPN, with things and stuff in any order, and images for it."""

from functools import partial

import torch

from detkit.backbones import TorchvisionBackbone
from detkit.heads import BoxHead, MaskHead, StuffHead, TwoFullyConnected
from detkit.models import MergeRule, PanopticFPN
from detkit.necks import FPN
from detkit.preprocess import ShortestEdge
from detkit.structures import Category, Target

CATEGORIES = [
    Category(1, "disc"),
    Category(2, "sky", is_thing=False),
    Category(5, "box"),
    Category(7, "sand", is_thing=False),
    Category(8, "ring"),
]
SIZES = [(50, 70), (64, 48)]
PARTS = {
    "neck": partial(FPN, out_channels=16),
    "box_head": partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=16)),
    "mask_head": partial(MaskHead, channels=8),
}


def make_model(categories=CATEGORIES, **arguments):
    backbone = TorchvisionBackbone("resnet18")
    head = partial(StuffHead, hidden=16, groups=4)
    arguments = {"merge": MergeRule(0.2, 0.5, 10), "preprocess": ShortestEdge(64, 96), **PARTS, **arguments}
    model = PanopticFPN(backbone, len(categories), head, **arguments)
    model.categories = categories
    return model


def make_batch(seed=0, sizes=SIZES):
    """Two things of different classes on two kinds of stuff in each image."""
    generator = torch.Generator().manual_seed(seed)
    images = [torch.rand(3, *size, generator=generator) for size in sizes]
    return images, [_target(*size) for size in sizes]


def _target(height, width):
    label_map = torch.full((height, width), 1, dtype=torch.uint8)
    label_map[height // 2 :] = 3
    label_map[:2] = 255
    masks = torch.zeros(2, height, width, dtype=torch.bool)
    masks[0, 5:25, 5:25], masks[1, 22:40, 22:40] = True, True
    label_map[masks[0]], label_map[masks[1]] = 0, 4
    boxes = torch.tensor([[5.0, 5, 25, 25], [22, 22, 40, 40]])
    return Target(boxes=boxes, labels=torch.tensor([0, 4]), masks=masks, label_map=label_map)
