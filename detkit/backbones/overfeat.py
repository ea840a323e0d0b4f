"""The two networks of OverFeat: similar to AlexNet, without contrast normalization and overlapping pooling."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detkit.backbones.chain import ChainBackbone


class OverFeatFast(ChainBackbone):
    """The fast network of Sermanet 2013 (table 1), for images of 231 x 231.

    Args:
        num_classes: outputs of the classifier; None: no classifier, as for a detector.
        weights: path of a weights file with this class's names.
        strides: the strides whose last map is returned, of 4, 8, 16, 32; None: 4, 8 and 16.
    """

    def __init__(
        self, num_classes: int | None = None, weights: str | None = None, strides: Sequence[int] | None = None
    ) -> None:
        features = nn.Sequential(
            nn.Conv2d(3, 96, 11, stride=4),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(96, 256, 5),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(256, 512, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 1024, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
        )
        super().__init__(features, 6, (3072, 4096), 231, num_classes, weights, strides)


class OverFeatAccurate(ChainBackbone):
    """The accurate network of Sermanet 2013 (table 3), for images of 221 x 221.

    The default map of stride 12 is the input of the sliding-window detector's offset pooling.

    Args:
        num_classes: outputs of the classifier; None: no classifier, as for a detector.
        weights: path of a weights file with this class's names.
        strides: the strides whose last map is returned, of 2, 6, 12, 36; None: 6 and 12.
    """

    def __init__(
        self, num_classes: int | None = None, weights: str | None = None, strides: Sequence[int] | None = None
    ) -> None:
        features = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 3),
            nn.Conv2d(96, 256, 7),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2, 2),
            nn.Conv2d(256, 512, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 512, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(512, 1024, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(1024, 1024, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 3),
        )
        super().__init__(features, 5, (4096, 4096), 221, num_classes, weights, strides)
