"""Importing torchvision's SSD and SSDlite, weight for weight."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import partial

import torch
from torch import Tensor

from detkit.backbones import DilatedVGG16, TappedMobileNet
from detkit.errors import InputError
from detkit.heads import SSDHead
from detkit.models import SSD, Detector, SSDlite
from detkit.preprocess import Square
from detkit.weights.state_dict import Renames, load_all


def _ssd300_vgg16(state_dict: Mapping[str, Tensor]) -> SSD:
    head = partial(
        SSDHead,
        scales=(0.07, 0.15, 0.33, 0.51, 0.69, 0.87, 1.05),
        steps=(8, 16, 32, 64, 100, 300),
        clip=True,
    )
    # VGG's authors trained on pixels in 0..255 minus their mean.
    preprocess = Square(300, mean=(0.48235, 0.45882, 0.40784), std=[1 / 255] * 3)
    model = SSD(DilatedVGG16(), _num_classes(state_dict, "0.bias", boxes=4), head=head, preprocess=preprocess)
    load_all(model, _renamed(state_dict, _VGG_NAMES, [4, 6, 6, 6, 4, 4]), "torchvision's ssd300_vgg16")
    return model


def _ssdlite320_mobilenet_v3_large(state_dict: Mapping[str, Tensor]) -> SSDlite:
    num_classes = _num_classes(state_dict, "0.1.bias", boxes=6)
    # torchvision reduces the tail unless the backbone's weights are ImageNet's.
    last = state_dict.get("backbone.extra.0.0.0.weight")
    backbone = TappedMobileNet(
        "mobilenet_v3_large", reduced_tail=last is not None and last.ndim > 1 and last.shape[1] == 480
    )
    model = SSDlite(backbone, num_classes, preprocess=Square(320, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    load_all(model, _renamed(state_dict, _MOBILENET_NAMES, [6] * 6), "torchvision's ssdlite320_mobilenet_v3_large")
    return model


BUILDERS: dict[str, Callable[[Mapping[str, Tensor]], Detector]] = {
    "ssd300_vgg16": _ssd300_vgg16,
    "ssdlite320_mobilenet_v3_large": _ssdlite320_mobilenet_v3_large,
}

_HEAD_NAMES = [
    (r"head\.classification_head\.module_list\.", "head.classes."),
    (r"head\.regression_head\.module_list\.", "head.deltas."),
]
_VGG_NAMES: Renames = [
    (r"backbone\.scale_weight$", "neck.norm.scale"),
    # torchvision has pool4 to fc7 before the extra layers: conv5_1 is layer 24 of VGG-16.
    (r"backbone\.extra\.0\.7\.1\.", "backbone.fc6."),
    (r"backbone\.extra\.0\.7\.3\.", "backbone.fc7."),
    (r"backbone\.extra\.0\.(\d)\.", lambda match: f"backbone.features.{int(match[1]) + 23}."),
    (r"backbone\.extra\.(\d)\.", lambda match: f"neck.extra.{int(match[1]) - 1}."),
    *_HEAD_NAMES,
]
_MOBILENET_NAMES: Renames = [
    (r"backbone\.features\.", "backbone.stages."),
    (r"backbone\.extra\.", "neck.extra."),
    *_HEAD_NAMES,
]


def _renamed(state_dict: Mapping[str, Tensor], names: Renames, boxes: list[int]) -> dict[str, Tensor]:
    """`state_dict` with our names; `boxes` are the default boxes of a cell of each level."""
    renamed = {}
    for name, tensor in state_dict.items():
        for pattern, replacement in names:
            name, count = re.subn(f"^{pattern}", replacement, name)
            if count:
                break
        predictor = re.fullmatch(r"head\.classes\.(\d)\.(?:1\.)?(?:weight|bias)", name)
        renamed[name] = _background_last(tensor, boxes[int(predictor[1])]) if predictor else tensor
    return renamed


def _background_last(tensor: Tensor, boxes: int) -> Tensor:
    """Weight or bias of a classifier of `boxes` boxes per cell, with torchvision's class 0 of each moved to the end."""
    if len(tensor) % boxes:
        raise InputError(f"a classifier of the head has {len(tensor)} outputs for {boxes} boxes in a cell")
    return torch.unflatten(tensor, 0, (boxes, -1)).roll(-1, dims=1).flatten(0, 1)


def _num_classes(state_dict: Mapping[str, Tensor], layer: str, boxes: int) -> int:
    name = f"head.classification_head.module_list.{layer}"
    if name not in state_dict:
        raise InputError(f"no {name} in the state dict: it is no SSD of torchvision of this kind")
    return len(state_dict[name]) // boxes - 1
