"""The weights of darknet's files for detkit's trainable YOLOs, whose layers have the same order."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import takewhile
from pathlib import Path
from typing import NamedTuple, cast

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads import YOLOHead, YOLOv2Head
from detkit.models import SingleStageDetector
from detkit.models.transfer.given_weights import GivenWeights
from detkit.models.vision_model import VisionModel
from detkit.necks import PAN, Passthrough, YOLOv3Neck
from detkit.weights.darknet.cfg import read_text
from detkit.weights.darknet.layers import Layer
from detkit.weights.darknet.network import Darknet
from detkit.weights.darknet.outputs import Region, Yolo
from detkit.weights.darknet.weighted_layers import Convolutional
from detkit.weights.darknet.weights_file import layers_in, read_weights
from detkit.weights.published_categories import coco_categories

_COCO_CLASSES = 80


class _Convolution(NamedTuple):
    """A convolution and the batch norm behind it."""

    convolution: nn.Conv2d
    batch_norm: nn.BatchNorm2d | None

    def kind(self) -> tuple[object, ...]:
        """What layers with the same weights share; predictors may have other outputs."""
        layer = self.convolution
        outputs = None if self.batch_norm is None else layer.out_channels
        return outputs, layer.in_channels, layer.kernel_size, layer.stride, layer.groups


def darknet_weights(cfg: str | Path, weights: str | Path, model: VisionModel) -> GivenWeights:
    """The weights of darknet's files by the names of a trainable YOLO.

    The convolutions of both are compared in the order of the file, up to the first that differs: a trunk, such as
    ``darknet53.conv.74`` with ``yolov3.cfg`` or ``darknet53.weights`` with ``darknet53.cfg``, fits as well as a whole
    detector.

    Args:
        cfg: the file that describes the network.
        weights: the file with its weights, perhaps of its first layers only.
        model: a `YOLOv2`, `YOLOv3` or `YOLOv4`, also with tiny backbones.

    Raises:
        InputError: a file cannot be read, the model is another one, or its first convolution is not that of the file.
    """
    source = f"darknet:{cfg},{weights}"
    network = Darknet(read_text(cfg), str(cfg))
    stored = network.stored()
    stored = stored[: layers_in(weights, stored)]
    header = read_weights(weights, stored)
    given = [(section, layer) for section, layer in stored if layer.stored()]
    own = list(_file_order(model))
    names = {id(module): name for name, module in model.named_modules()}
    alike = list(takewhile(lambda pair: _fits(pair[0][1], pair[1]), zip(given, own, strict=False)))
    if not alike:
        raise InputError(f"{source}: its first layer is not that of the {type(model).__name__}, {own[0].convolution}")
    tensors: dict[str, Tensor] = {}
    for (_, layer), convolution in alike:
        tensors |= _named(cast(Convolutional, layer), convolution, names)
    if len(alike) == len(own) and isinstance(model.head, YOLOv2Head):
        tensors["head.seen"] = torch.tensor(header.seen)  # which YOLOv2 counts on
    for section, layer in given[len(alike) :]:
        tensors |= {f"{section.name} {name}": value for name, value in layer.state_dict().items()}
    classes = {layer.classes for layer in network.layers if isinstance(layer, (Yolo, Region))}
    categories = coco_categories() if classes == {_COCO_CLASSES} else []
    return GivenWeights(source, tensors, categories, _constants(network, model))


def _file_order(model: VisionModel) -> Iterator[_Convolution]:
    """The convolutions of a YOLO as darknet's files have them: each predictor is behind the map that it reads."""
    head = getattr(model, "head", None)
    if not isinstance(model, SingleStageDetector) or not isinstance(head, YOLOHead):
        raise InputError(f"darknet's weights are for YOLOv2, YOLOv3 and YOLOv4, not for a {type(model).__name__}")
    yield from _convolutions(model.backbone)
    for part in _neck_order(model.neck, list(head.predict)):
        yield from _convolutions(part)


def _neck_order(neck: nn.Module, predictors: list[nn.Module]) -> Iterable[nn.Module]:
    levels = range(len(predictors))
    if isinstance(neck, Passthrough):
        return [neck, *predictors]
    if isinstance(neck, YOLOv3Neck):
        order: list[nn.Module] = []
        for level in reversed(levels):
            order += neck.laterals[level : level + 1]
            order += [neck.sets[level], neck.outputs[level], predictors[level]]
        return order
    if isinstance(neck, PAN):
        order = [neck.coarsest]
        for level in reversed(levels[:-1]):
            order += [neck.raises[level], neck.laterals[level], neck.down_sets[level]]
        for level in levels:
            order += [neck.lowers[level - 1], neck.up_sets[level - 1]] if level else []
            order += [neck.outputs[level], predictors[level]]
        return order
    return []


def _convolutions(part: nn.Module) -> Iterator[_Convolution]:
    layers = [layer for layer in part.modules() if isinstance(layer, (nn.Conv2d, nn.BatchNorm2d))]
    for layer, behind in zip(layers, [*layers[1:], None], strict=False):
        if isinstance(layer, nn.Conv2d):
            yield _Convolution(layer, behind if isinstance(behind, nn.BatchNorm2d) else None)


def _fits(layer: Layer, own: _Convolution) -> bool:
    if not isinstance(layer, Convolutional):
        return False
    return _Convolution(layer.convolution, layer.batch_norm).kind() == own.kind()


def _named(layer: Convolutional, own: _Convolution, names: dict[int, str]) -> dict[str, Tensor]:
    """The weights of `layer` by the names of the model's parameters."""
    convolution, norm = names[id(own.convolution)], names.get(id(own.batch_norm))
    tensors = {f"{convolution}.{name}": value for name, value in layer.convolution.state_dict().items()}
    if norm is not None and layer.batch_norm is not None:
        tensors |= {f"{norm}.{name}": value for name, value in layer.batch_norm.state_dict().items()}
    return tensors


def _constants(network: Darknet, model: VisionModel) -> dict[str, Tensor]:
    """The anchors, finest map first, and the statistics of pixels, by the names of the model's buffers."""
    layers = [layer for layer in network.layers if isinstance(layer, (Yolo, Region))]
    sides = [layer.shape[1] for layer in layers]
    finest_first = [layers[index] for index in sorted(range(len(layers)), key=lambda index: -sides[index])]
    constants = {"preprocess.mean": torch.zeros(3, 1, 1), "preprocess.std": torch.ones(3, 1, 1)}
    strides = cast(YOLOHead, model.head).strides
    for level, (layer, stride) in enumerate(zip(finest_first, strides, strict=False)):
        scale = stride if isinstance(layer, Region) else 1  # anchors of [region] are in cells
        constants[f"head.anchors{level}"] = layer.anchors * scale
    return constants
