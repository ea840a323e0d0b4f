"""A backbone small enough to train, or to export, within a test."""

from torch import nn

from detkit.backbones import Backbone


class TinyBackbone(Backbone):
    """Strides 4, 8 and 16; group norm, so that an image's features depend on it alone in training mode too."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        self.channels, self.strides = [width] * 3, [4, 8, 16]
        self.stem = nn.Sequential(*self._halving(3, width), *self._halving(width, width))
        self.stages = nn.ModuleList(self._halving(width, width) for _ in range(2))

    def forward(self, images):
        features = [self.stem(images)]
        for stage in self.stages:
            features.append(stage(features[-1]))
        return features

    @staticmethod
    def _halving(in_channels, out_channels):
        conv = nn.Conv2d(in_channels, out_channels, 3, stride=2, padding=1)
        return nn.Sequential(conv, nn.GroupNorm(4, out_channels), nn.ReLU())
