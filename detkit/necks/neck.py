"""The base class of necks."""

from __future__ import annotations

from torch import Tensor, nn


class Neck(nn.Module):
    """Turns a list of feature maps into another one, finest first.

    Attributes:
        channels: channels of each returned map.
        strides: image pixels per cell of each returned map.
    """

    channels: list[int]
    strides: list[int]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """The new maps, finest first, from `features`, finest first."""
        raise NotImplementedError
