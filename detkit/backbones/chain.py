"""Backbones that are a plain chain: convolutions and poolings, then fully connected layers."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise

from torch import Tensor, nn

from detkit.backbones.backbone import Backbone
from detkit.backbones.pretrained import LoadReport, load_matching, read_state_dict
from detkit.errors import InputError
from detkit.structures import WeightsSource


class ChainBackbone(Backbone):
    """A chain of layers that returns its maps of selected strides; with `num_classes`, also a classifier.

        images -> features -+-> maps
                            +-> flatten -> classifier -> logits

    Args:
        features: the convolutional part, ending with the last pooling.
        cells: height and width of the output of `features` at the training size.
        hidden: widths of the hidden fully connected layers.
        training_size: side in pixels of the images that the classifier takes.
        num_classes: outputs of the classifier; None: no classifier, as for a detector.
        weights: path of a weights file with names ``features.*`` and ``classifier.*``.
        strides: the strides whose last map is returned; None: all from 4 up to that of the last convolution.

    Attributes:
        load_report: what was loaded from a weights file, or None.

    Raises:
        InputError: the chain does not have a stride, or a weights file does not fit.
    """

    features: nn.Sequential
    classifier: nn.Sequential | None

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
        selected = [stride for stride in ends if stride >= 4][:-1] if strides is None else sorted(set(strides))
        unknown = [stride for stride in selected if stride not in ends]
        if unknown or not selected:
            raise InputError(f"{type(self).__name__} has no maps of strides {unknown or selected}: it has {list(ends)}")
        self.strides = selected
        self.channels = [ends[stride][1] for stride in selected]
        self._returned = [ends[stride][0] for stride in selected]
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
            self.weights_source = WeightsSource.of_file(type(self).__name__, weights)

    def forward(self, images: Tensor) -> list[Tensor]:
        """The maps of the selected strides of `images` ``(B, 3, H, W)``, finest first."""
        x, maps = images, []
        for index, layer in enumerate(self.features[: self._returned[-1] + 1]):
            x = layer(x)
            if index in self._returned:
                maps.append(x)
        return maps

    def classify(self, images: Tensor) -> Tensor:
        """Class logits ``(B, num_classes)`` of `images` ``(B, 3, training_size, training_size)``."""
        logits: Tensor = self.as_classifier()(images)
        return logits

    def as_classifier(self) -> ChainClassifier:
        """The same layers as a module from images to logits, under the same names.

        Raises:
            InputError: the backbone was made without `num_classes`.
        """
        if self.classifier is None:
            raise InputError(f"{type(self).__name__} has no classifier: make it with num_classes")
        parts = OrderedDict(features=self.features, flatten=nn.Flatten(), classifier=self.classifier)
        net = ChainClassifier(parts).train(self.training)
        net.training_size = self.training_size
        return net


class ChainClassifier(nn.Sequential):
    """The layers of a `ChainBackbone`, from images to logits; `training_size` is the side of the images in pixels."""

    training_size: int


def _ends(features: nn.Sequential) -> dict[int, tuple[int, int]]:
    """For each stride in the chain, the index of its last layer and the channels there."""
    stride, channels, ends = 1, 3, {}
    for index, layer in enumerate(features):
        if isinstance(layer, nn.Conv2d):
            stride, channels = stride * layer.stride[0], layer.out_channels
        elif isinstance(layer, nn.MaxPool2d):
            stride *= layer.stride if isinstance(layer.stride, int) else layer.stride[0]
        ends[stride] = (index, channels)
    return ends


def _fully_connected(widths: Sequence[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for fan_in, fan_out in pairwise(widths):
        layers += [nn.Dropout(0.5), nn.Linear(fan_in, fan_out), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers[:-4], layers[-2])  # the last layer has neither dropout before nor ReLU after it


def _initialize(features: nn.Sequential) -> None:
    """He initialization: without normalization, the papers' Gaussian of 0.01 would take days to leave its plateau."""
    for layer in features:
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
