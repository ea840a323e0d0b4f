"""What every neck promises: the same signature as a backbone, from list to list."""

from __future__ import annotations

from torch import Tensor, nn


class Neck(nn.Module):
    """Feature maps in, feature maps out.

    Attributes:
        channels: channels of each map that it returns.
        strides: image pixels per cell of each map that it returns, finest first.
    """

    channels: list[int]
    strides: list[int]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """New maps from `features`, finest first."""
        raise NotImplementedError
