"""ZFNet, the winner of ILSVRC 2013: AlexNet with a finer first layer."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detkit.backbones.chain import ChainBackbone


class ZFNet(ChainBackbone):
    """The network of Zeiler & Fergus 2013 (figure 3), for images of 224 x 224.

    Pooling rounds sizes up, which gives the maps of 55, 13 and 6 cells in the figure.

    Args:
        num_classes: outputs of the classifier; None: no classifier, as for a detector.
        weights: path of a weights file with this class's names.
        strides: the strides whose last map is returned, of 2, 4, 8, 16, 32; None: 4, 8 and 16.
    """

    def __init__(
        self, num_classes: int | None = None, weights: str | None = None, strides: Sequence[int] | None = None
    ) -> None:
        features = nn.Sequential(
            nn.Conv2d(3, 96, 7, stride=2, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
            nn.Conv2d(96, 256, 5, stride=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
            nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2, ceil_mode=True),
        )
        super().__init__(features, 6, (4096, 4096), 224, num_classes, weights, strides)
