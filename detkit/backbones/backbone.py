"""The base class of backbones, and freezing of their parameters."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor, nn

from detkit.object_config import Described


class Backbone(Described, nn.Module):
    """Turns a batch of images into feature maps, finest first.

    Attributes:
        channels: channels of each feature map.
        strides: image pixels per cell of each feature map.
        padded: whether convolutions pad, so that maps show the whole image.
        origins: the pixel of the image, along both axes, at which each map begins; None: 0 of all.
    """

    channels: list[int]
    strides: list[int]
    padded: bool = True
    origins: list[int] | None = None

    def forward(self, images: Tensor) -> list[Tensor]:
        """Feature maps ``(B, channels[i], H / strides[i], W / strides[i])`` of `images` ``(B, 3, H, W)``."""
        raise NotImplementedError


def freeze(parameters: Iterable[nn.Parameter]) -> None:
    """Exclude `parameters` from training."""
    for parameter in parameters:
        parameter.requires_grad_(False)
