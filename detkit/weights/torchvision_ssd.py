"""Importing torchvision's SSD and SSDlite, weight for weight."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial

from torch import Tensor

from detkit.backbones import DilatedVGG16, TappedMobileNet
from detkit.errors import InputError
from detkit.heads import SSDHead
from detkit.models import SSD, Detector, SSDlite
from detkit.preprocess import Square
from detkit.weights.state_dict import Renames, check_has, load_all, rename_prefix
from detkit.weights.tensor_layout import Layout, roll_classes


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
    load_all(model, LAYOUTS["ssd300_vgg16"].ours(state_dict), "torchvision's ssd300_vgg16")
    return model


def _ssdlite320_mobilenet_v3_large(state_dict: Mapping[str, Tensor]) -> SSDlite:
    num_classes = _num_classes(state_dict, "0.1.bias", boxes=6)
    # torchvision reduces the tail unless the backbone's weights are ImageNet's.
    last = state_dict.get("backbone.extra.0.0.0.weight")
    backbone = TappedMobileNet(
        "mobilenet_v3_large", reduced_tail=last is not None and last.ndim > 1 and last.shape[1] == 480
    )
    model = SSDlite(backbone, num_classes, preprocess=Square(320, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)))
    ours = LAYOUTS["ssdlite320_mobilenet_v3_large"].ours(state_dict)
    load_all(model, ours, "torchvision's ssdlite320_mobilenet_v3_large")
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


def _layout(renames: Renames, boxes: Sequence[int]) -> Layout:
    """`boxes` are the default boxes of a cell of each level."""

    def names(theirs: Collection[str]) -> dict[str, str]:
        return {name: rename_prefix(name, renames) for name in theirs}

    def boxes_of(name: str) -> int | None:
        predictor = re.fullmatch(r"head\.classes\.(\d)\.(?:1\.)?(?:weight|bias)", name)
        return None if predictor is None else boxes[int(predictor[1])]

    def to_ours(name: str, tensor: Tensor) -> Tensor:
        count = boxes_of(name)
        if count is None:
            return tensor
        if len(tensor) % count:
            raise InputError(f"a classifier of the head has {len(tensor)} outputs for {count} boxes in a cell")
        return roll_classes(tensor, count, -1)

    def to_theirs(name: str, tensor: Tensor) -> Tensor:
        count = boxes_of(name)
        return tensor if count is None else roll_classes(tensor, count, 1)

    return Layout(names, to_ours, to_theirs)


LAYOUTS = {
    "ssd300_vgg16": _layout(_VGG_NAMES, [4, 6, 6, 6, 4, 4]),
    "ssdlite320_mobilenet_v3_large": _layout(_MOBILENET_NAMES, [6] * 6),
}
"""By torchvision's name, how its tensors become ours and ours become its."""


def _num_classes(state_dict: Mapping[str, Tensor], layer: str, boxes: int) -> int:
    name = f"head.classification_head.module_list.{layer}"
    check_has(state_dict, (name,), "no SSD of torchvision of this kind")
    return len(state_dict[name]) // boxes - 1
