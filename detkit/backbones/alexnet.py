"""The original AlexNet with its two towers; torchvision's `alexnet` is the later network with one tower."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from detkit.backbones.chain import ChainBackbone


class AlexNet(ChainBackbone):
    """The network of Krizhevsky 2012 (section 3.5), for images of 227 x 227.

    The towers of the two GPUs are groups of the second, fourth and fifth convolution. Local response normalization
    precedes pooling (section 3.3), and pooling windows overlap. The paper says 224, but its first map of 55 cells needs
    227.

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
            nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(96, 256, 5, padding=2, groups=2),
            nn.ReLU(inplace=True),
            nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0),
            nn.MaxPool2d(3, 2),
            nn.Conv2d(256, 384, 3, padding=1),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 384, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.Conv2d(384, 256, 3, padding=1, groups=2),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(3, 2),
        )
        super().__init__(features, 6, (4096, 4096), 227, num_classes, weights, strides)
