"""Detectors with random weights that have as much to decode as trained ones in an image full of objects.

Batch norm has the statistics of the image, and class scores are spread out like those of a trained network; score
thresholds are set so that 300 scored boxes per image enter the last suppression.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import torch
import torchvision
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.utils._python_dispatch import TorchDispatchMode

from detkit.backbones import (
    CSPDarknet53,
    CSPDarknetTiny,
    Darknet19,
    Darknet53,
    DarknetTiny,
    OverFeatFast,
    TorchvisionBackbone,
    YOLOv1Backbone,
)
from detkit.heads import BoxHead, YOLOv3Head, YOLOv4Head
from detkit.models import RCNN, CascadeRCNN, Detector, FastRCNN, OverFeat, YOLOv1, YOLOv2, YOLOv3, YOLOv4
from detkit.necks import YOLOv3Neck
from detkit.preprocess import Letterbox
from detkit.proposals import SelectiveSearch

CANDIDATES = 300  # boxes of an image that enter the last suppression
SPREAD = 3.0  # the standard deviation of class logits
IMAGE_SIZE = (480, 640)  # height and width
COCO_LABELS = 91  # of torchvision's detectors, background included

_TINY_NECK = partial(YOLOv3Neck, channels=[128, 256], convolutions=[0, 1])
_TINY_ANCHORS = [[(10.0, 14.0), (23.0, 27.0), (37.0, 58.0)], [(81.0, 82.0), (135.0, 169.0), (344.0, 319.0)]]
OWN: dict[str, Callable[[], Detector]] = {
    "overfeat_fast": lambda: OverFeat(OverFeatFast(), 80),
    "rcnn_alexnet": lambda: RCNN(TorchvisionBackbone("alexnet", stages=[5]), 20, SelectiveSearch()),
    "fast_rcnn_vgg16": lambda: FastRCNN(TorchvisionBackbone("vgg16", stages=[4]), 20, SelectiveSearch()),
    "cascade_rcnn_resnet50_fpn": lambda: CascadeRCNN(TorchvisionBackbone("resnet50"), 80),
    "yolo_v1": lambda: YOLOv1(YOLOv1Backbone(), 20),
    "yolo_v2": lambda: YOLOv2(Darknet19(), 80),
    "yolo_v3": lambda: YOLOv3(Darknet53(), 80),
    "yolo_v3_tiny": lambda: YOLOv3(DarknetTiny(), 80, _TINY_NECK, partial(YOLOv3Head, anchors=_TINY_ANCHORS)),
    "yolo_v4": lambda: YOLOv4(CSPDarknet53(), 80, preprocess=Letterbox((608, 608))),
    "yolo_v4_tiny": lambda: YOLOv4(
        CSPDarknetTiny(), 80, _TINY_NECK, partial(YOLOv4Head, anchors=_TINY_ANCHORS, scale_x_y=[1.05, 1.05]),
        Letterbox((416, 416)),
    ),
}  # fmt: skip
"""Detectors that torchvision does not have, as large as in their papers."""

# What gives class scores, torchvision's by name and detkit's: the last layer inside.
_SCORES = re.compile(r"(cls_score|cls_logits|classification_head\.module_list\.\d+|\bclasses|\bhead\.predict\.\d+)$")


def cloud_image(device: str | torch.device) -> Tensor:
    """Colored clouds ``(3, 480, 640)``."""
    generator = torch.Generator().manual_seed(0)
    clouds = [
        nn.functional.interpolate(torch.rand(1, 3, *size, generator=generator), IMAGE_SIZE, mode="bicubic")[0]
        for size in ((3, 4), (12, 16), (48, 64))
    ]
    return (sum(clouds, torch.zeros(())) / 3).clamp(0, 1).to(device)


@torch.no_grad()
def prepare(model: nn.Module, device: str) -> None:
    """Give batch norm the statistics of the image, then spread the class logits."""
    images = [cloud_image(device)]
    norms = [(module, module.momentum) for module in model.modules() if isinstance(module, _BatchNorm)]
    for norm, _ in norms:
        norm.train().momentum = 1.0
    if norms:
        model(images * 2)  # two images, for the statistics of maps of one cell
    for norm, momentum in norms:
        norm.eval().momentum = momentum

    outputs: dict[Any, list[Tensor]] = {layer: [] for layer in score_layers(model)}
    hooks = [
        layer.register_forward_hook(
            lambda layer, inputs, output: outputs[layer].append(output.movedim(1, 0).flatten(1))
        )
        for layer in outputs
    ]
    model(images)
    for hook in hooks:
        hook.remove()
    for layer, level_outputs in outputs.items():
        rows = score_rows(model, layer)
        logits = torch.cat(level_outputs, dim=1) - (0 if layer.bias is None else layer.bias[:, None])
        layer.weight[rows] *= SPREAD / logits[rows].std()
        if isinstance(model, (torchvision.models.detection.RetinaNet, torchvision.models.detection.FCOS)):
            # They have a background logit, which detkit omits and which is never the largest with trained weights.
            layer.weight[::COCO_LABELS], layer.bias[::COCO_LABELS] = 0.0, -20.0


def score_layers(model: nn.Module) -> list[nn.Module]:
    """The layers that give class scores; YOLOv1's scores have no sigmoid and are left unchanged."""
    if isinstance(model, YOLOv1):
        return []
    named = [module for name, module in model.named_modules() if _SCORES.search(name) and "rpn" not in name]
    return [[layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.Conv2d))][-1] for module in named]


def score_rows(model: nn.Module, layer: nn.Linear | nn.Conv2d) -> Tensor:
    """The outputs of a layer that are scores, bool; a YOLO's layer gives boxes too."""
    numbers = torch.arange(layer.weight.shape[0], device=layer.weight.device)
    return numbers % (5 + model.num_classes) >= 4 if isinstance(model, (YOLOv2, YOLOv3, YOLOv4)) else numbers >= 0


class SuppressionCounter(TorchDispatchMode):
    """Counts the boxes that enter suppression, detkit's or torchvision's."""

    def __init__(self) -> None:
        super().__init__()
        self.boxes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        if func in (torch.ops.detkit.nms.default, torch.ops.torchvision.nms.default):
            self.boxes += len(args[0])
        elif func is torch.ops.detkit.batched_nms_padded.default:
            self.boxes += int((args[2] >= 0).sum())  # those of an image
        return func(*args, **(kwargs or {}))


@torch.inference_mode()
def set_threshold(model: Detector, images: Sequence[Tensor]) -> int | None:
    """Set the score threshold so that `CANDIDATES` boxes of each image enter the last suppression; returns how many do.

    A head that does not suppress, as OverFeat's merging, keeps its threshold.
    """
    owner, decode = last_decoding(model, images)
    part = suppression(owner)

    def count(threshold: float) -> int:
        part.score_threshold = threshold
        with SuppressionCounter() as counter:
            decode()
        return counter.boxes

    default, low, high = part.score_threshold, 0.0, 1.0
    if count(low) == 0:
        part.score_threshold = default
        return None
    for _ in range(30):
        middle = (low + high) / 2
        low, high = (middle, high) if count(middle) > CANDIDATES * len(images) else (low, middle)
    return count(high)


def suppression(head: Any) -> Any:
    """The part of a head that holds its thresholds."""
    return getattr(head, "postprocess", head)


def last_decoding(model: Detector, images: Sequence[Tensor]) -> tuple[Any, Callable[[], object]]:
    """The head that scores the final boxes, and a function that repeats its decoding of `images` alone."""
    owner: Any = model.head if hasattr(model, "head") else model.box_head
    name = "decode"
    if isinstance(model, CascadeRCNN):
        owner, name = [module for module in owner.modules() if isinstance(module, BoxHead)][-1], "select_padded"
    original = getattr(owner, name)
    calls: list[tuple[Any, ...]] = []

    def recorded(*arguments: Any) -> object:
        calls.append(arguments)
        return original(*arguments)

    setattr(owner, name, recorded)
    model(images)
    delattr(owner, name)
    return owner, lambda: original(*calls[0])
