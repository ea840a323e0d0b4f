"""Feature pyramid network."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.necks.extra_levels import EveryOtherCell, ExtraLevels
from detkit.necks.neck import Neck


class FPN(Neck):
    """Merges semantically strong coarse maps into fine ones, top-down (Lin 2017, section 3).

        C5 --1x1--> M5 ----3x3--> P5 --extra levels--> P6 ...
                    | x2
        C4 --1x1--> + = M4 --3x3--> P4      ... and so on to the finest

    Args:
        in_channels: channels of each incoming map, finest first.
        strides: strides of the incoming maps.
        out_channels: channels of every outgoing map.
        extra_levels: makes coarser maps for large objects, called with the channels of the coarsest incoming map and
            `out_channels`; null makes none.
        batch_norm: add batch norm after each convolution, as training from random weights needs (He 2018, section 3.1).

    Raises:
        InputError: `in_channels` and `strides` differ in length.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        out_channels: int = 256,
        extra_levels: Callable[[int, int], ExtraLevels] | None = EveryOtherCell,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        if len(in_channels) != len(strides):
            raise InputError(f"FPN got maps with channels {list(in_channels)} but with strides {list(strides)}")
        self.lateral = nn.ModuleList(_convolution(channels, out_channels, 1, batch_norm) for channels in in_channels)
        self.output = nn.ModuleList(_convolution(out_channels, out_channels, 3, batch_norm) for _ in in_channels)
        self.extra_levels = extra_levels(in_channels[-1], out_channels) if extra_levels is not None else None
        count = self.extra_levels.count if self.extra_levels is not None else 0
        self.strides = [*strides, *(strides[-1] * 2**level for level in range(1, count + 1))]
        self.channels = [out_channels] * len(self.strides)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps ``(B, out_channels, Hi, Wi)`` of the sizes of `features`, finest first, and the extra levels."""
        merged = [lateral(feature) for lateral, feature in zip(self.lateral, features, strict=True)]
        for level in range(len(merged) - 2, -1, -1):
            # Into the enlarged map, which nothing else uses.
            merged[level] = F.interpolate(merged[level + 1], size=merged[level].shape[-2:]).add_(merged[level])
        pyramid = [output(feature) for output, feature in zip(self.output, merged, strict=True)]
        if self.extra_levels is not None:
            pyramid += self.extra_levels(features[-1], pyramid[-1])
        return pyramid


def _convolution(in_channels: int, out_channels: int, size: int, batch_norm: bool) -> nn.Module:
    conv = nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=not batch_norm)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is None:
        return nn.Sequential(conv, nn.BatchNorm2d(out_channels))
    nn.init.zeros_(conv.bias)
    return conv
