"""`Darknet`, the network that a ``.cfg`` file describes."""

from __future__ import annotations

import math
import warnings
from collections.abc import Iterable
from typing import Any, cast

from torch import Tensor, nn

from detkit.weights.darknet import joining_layers, layers, outputs, weighted_layers
from detkit.weights.darknet.cfg import Section, parse_cfg
from detkit.weights.darknet.layers import Layer, check_shape, check_weights
from detkit.weights.darknet.weights_file import Header

_KINDS: dict[str, type[Layer]] = {
    "convolutional": weighted_layers.Convolutional,
    "conv": weighted_layers.Convolutional,
    "deconvolutional": weighted_layers.Deconvolutional,
    "deconv": weighted_layers.Deconvolutional,
    "connected": weighted_layers.Connected,
    "conn": weighted_layers.Connected,
    "local": weighted_layers.Local,
    "maxpool": layers.Pool,
    "max": layers.Pool,
    "local_avgpool": layers.Pool,
    "local_avg": layers.Pool,
    "avgpool": layers.AveragePool,
    "avg": layers.AveragePool,
    "batchnorm": weighted_layers.Normalization,
    "activation": layers.Activation,
    "dropout": layers.Dropout,
    "crop": layers.Crop,
    "upsample": layers.Upsample,
    "cost": layers.Same,
    "empty": layers.Same,
    "silence": layers.Same,
    "route": joining_layers.Route,
    "shortcut": joining_layers.Shortcut,
    "reorg": joining_layers.Reorg,
    "reorg3d": joining_layers.Reorg,
    "scale_channels": joining_layers.ScaleChannels,
    "sam": joining_layers.Attention,
    "implicit": joining_layers.Implicit,
    "shift_channels": joining_layers.ImplicitJoint,
    "control_channels": joining_layers.ImplicitJoint,
    "softmax": joining_layers.Softmax,
    "soft": joining_layers.Softmax,
    "yolo": outputs.Yolo,
    "Gaussian_yolo": outputs.GaussianYolo,
    "region": outputs.Region,
    "detection": outputs.Grid,
}


MOST_KEPT = 2**30
"""Numbers of an image in all maps that are kept at once: 4 GiB."""


class Darknet(nn.Module):
    """The network of a cfg file.

    Args:
        cfg: the text of the file.
        file: its name, for messages.

    Attributes:
        input_shape: (channels, height, width) of ``[net]``.
        header: of the weights file that was read.

    Raises:
        InputError: the cfg has an unknown layer or value, or layers do not fit; the message gives file, line and layer.
    """

    def __init__(self, cfg: str, file: str = "cfg") -> None:
        super().__init__()
        net, *self.sections = parse_cfg(cfg, file)
        self.cfg = cfg
        self.header = Header()
        self.input_shape = net.positive("channels", 3), net.positive("height", 416), net.positive("width", 416)
        check_shape(net, self.input_shape, "the input")
        self.layers = nn.ModuleList()
        shapes: list[layers.Shape] = []
        weights = 0
        for section in self.sections:
            if section.kind not in _KINDS:
                raise section.error(f"unknown kind of layer; known are {', '.join(_KINDS)}")
            layer = _KINDS[section.kind](section, shapes[-1] if shapes else self.input_shape, shapes)
            check_shape(section, layer.shape)
            weights += sum(parameter.numel() for parameter in layer.parameters())
            check_weights(section, weights)
            if (message := section.misspelled()) is not None:
                warnings.warn(message, stacklevel=2)
            self.layers.append(layer)
            shapes.append(layer.shape)
        answers = [index for index, layer in enumerate(self.layers) if isinstance(layer, outputs.OutputLayer)]
        self.answers = answers or [len(self.layers) - 1]
        # An output is kept until the last layer that takes it.
        self.last_use = {source: index for index, layer in enumerate(self._layers()) for source in layer.sources}
        self._check_kept(shapes)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Outputs of the ``[yolo]``, ``[region]`` and ``[detection]`` layers; without any, that of the last layer.

        Args:
            images: ``(B, channels, H, W)`` float in [0, 1].
        """
        x = images
        kept: dict[int, Tensor] = {}
        results: list[Tensor] = []
        modules: Any = self.layers
        for index, layer in enumerate(modules):
            x = layer(x, *(kept[source] for source in layer.sources))
            if index in self.answers:
                results.append(x)
            for source in layer.sources:
                if self.last_use[source] == index:
                    kept.pop(source, None)
            if index in self.last_use:
                kept[index] = x
        return results

    def stored(self) -> list[tuple[Section, Layer]]:
        """Every layer with its section, in the order of the weights file."""
        return list(zip(self.sections, self._layers(), strict=True))

    def output_layers(self) -> list[outputs.OutputLayer]:
        """The layers whose outputs `forward` returns, of a detector."""
        return [cast(outputs.OutputLayer, self.layers[index]) for index in self.answers]

    def _check_kept(self, shapes: list[layers.Shape]) -> None:
        """Raise the error of the layer at which the kept outputs of an image are too many for the memory."""
        kept: dict[int, int] = {}
        for index, (section, shape) in enumerate(zip(self.sections, shapes, strict=True)):
            kept[index] = math.prod(shape)
            if sum(kept.values()) > MOST_KEPT:
                raise section.error(
                    f"it and the earlier layers that are kept for later ones exceed {MOST_KEPT:,} numbers"
                )
            kept = {source: size for source, size in kept.items() if self.last_use.get(source, -1) > index}

    def _layers(self) -> Iterable[Layer]:
        return cast(Iterable[Layer], self.layers)
