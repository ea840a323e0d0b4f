"""Nets that are one chain: convolutions and poolings, then fully connected layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from detkit.backbones.backbone import Backbone
from detkit.backbones.pretrained import LoadReport, load_matching, read_state_dict
from detkit.errors import InputError


class ChainBackbone(Backbone):
    """A chain of layers, seen at the end of chosen strides; with `num_classes`, also a classifier.

        images -> features -+-> maps
                            +-> flatten -> classifier -> logits

    Args:
        features: the convolutional part, ending with the last pooling.
        cells: height and width of what comes out of `features` at the size of training.
        hidden: widths of the hidden fully connected layers.
        training_size: side in pixels of the images that the classifier is made for.
        num_classes: outputs of the classifier; nothing leaves it out, as a detector wants it.
        weights: path of a weights file with names ``features.*`` and ``classifier.*``.
        strides: the strides whose last map is returned; nothing returns all from 4 on up to the last convolution's.

    Attributes:
        load_report: what was loaded from a weights file, or None.

    Raises:
        InputError: a stride that the chain does not have, or a weights file that does not fit.
    """

    def __init__(
        self,
        features: nn.Sequential,
        cells: int,
        hidden: Sequence[int],
        training_size: int,
        num_classes: int | None,
        weights: str | None,
        strides: Sequence[int] | None,
    ) -> None:
        super().__init__()
        ends = _ends(features)
        found = [stride for stride in ends if stride >= 4][:-1] if strides is None else sorted(set(strides))
        unknown = [stride for stride in found if stride not in ends]
        if unknown or not found:
            raise InputError(f"{type(self).__name__} has no maps of strides {unknown or found}: it has {list(ends)}")
        self.strides = found
        self.channels = [ends[stride][1] for stride in found]
        self._returned = [ends[stride][0] for stride in found]
        self.training_size = training_size
        self.features = features if num_classes is not None else features[: self._returned[-1] + 1]
        self.classifier = None
        if num_classes is not None:
            in_channels = ends[max(ends)][1]
            self.classifier = _fully_connected([in_channels * cells**2, *hidden, num_classes])
        _initialize(self.features)
        self.load_report: LoadReport | None = None
        if weights is not None:
            self.load_report = load_matching(self, read_state_dict(weights), source=str(weights))

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of the chosen strides of `images` ``(B, 3, H, W)``, finest first."""
        x, maps = images, []
        for index, layer in enumerate(self.features[: self._returned[-1] + 1]):
            x = layer(x)
            if index in self._returned:
                maps.append(x)
        return maps

    def classify(self, images: Tensor) -> Tensor:
        """Class logits ``(B, num_classes)`` of `images` ``(B, 3, training_size, training_size)``."""
        return self.as_classifier()(images)

    def as_classifier(self) -> nn.Sequential:
        """The same layers as a module from images to logits, under the same names.

        Raises:
            InputError: the net was made without `num_classes`.
        """
        if self.classifier is None:
            raise InputError(f"{type(self).__name__} has no classifier: make it with num_classes")
        parts = OrderedDict(features=self.features, flatten=nn.Flatten(), classifier=self.classifier)
        net = nn.Sequential(parts).train(self.training)
        net.training_size = self.training_size
        return net


def _ends(features: nn.Sequential) -> dict[int, tuple[int, int]]:
    """For each stride in the chain: the index of its last layer, and the channels there."""
    stride, channels, ends = 1, 3, {}
    for index, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d):
            stride, channels = stride * layer.stride[0], layer.out_channels
        elif isinstance(layer, nn.MaxPool2d):
            stride *= layer.stride
        ends[stride] = (index, channels)
    return ends


def _fully_connected(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Dropout(0.5), nn.Linear(fan_in, fan_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-4], layers[-2])  # the last layer has neither dropout before nor ReLU after it


def _initialize(features: nn.Sequential) -> None:
    """He's initialization: without normalization, the papers' Gaussian of 0.01 would take days to leave its plateau."""
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
