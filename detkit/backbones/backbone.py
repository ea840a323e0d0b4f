"""What every trunk promises to the parts that stand on it."""

from __future__ import annotations

from torch import Tensor, nn


class Backbone(nn.Module):
    """An image batch in, feature maps out.

    Attributes:
        channels: channels of each feature map, known before any forward.
        strides: image pixels per cell of each feature map, finest first.
    """

    channels: list[int]
    strides: list[int]

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps ``(B, channels[i], H / strides[i], W / strides[i])`` of `images` ``(B, 3, H, W)``."""
        raise NotImplementedError


def freeze(parameters) -> None:
    """Take `parameters` out of training."""
    for parameter in parameters:
        parameter.requires_grad_(False)
