"""YOLOv3's neck: a top-down pyramid with concatenation, and sets of 1x1 and 3x3 convolutions on each map."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones.darknet import alternating, convolution
from detkit.errors import InputError
from detkit.necks.neck import Neck
from detkit.necks.spp import SPP


class YOLOv3Neck(Neck):
    """A feature pyramid with concatenation in place of the sum (YOLOv3, section 2.3).

        C5 --set of 5--+--3x3--> P5
                      1x1, x 2
        C4 ------------concat--set of 5--+--3x3--> P4       ... and so on to the finest

    Of a set of 5 the first, third and fifth convolution are 1x1, the others 3x3 with twice the channels.

    Args:
        in_channels: channels of each incoming map, finest first.
        strides: strides of the incoming maps, each twice the one before.
        channels: of the 1x1 convolutions of each map; None: half of the incoming ones. Outgoing maps have twice as
            many.
        convolutions: number in the set of each map; YOLOv3-tiny has 0 on the fine map and 1 on the coarse one.
        spp: pool the coarsest map over windows of 5, 9 and 13 cells within its set (YOLOv3-SPP).

    Raises:
        InputError: the arguments differ in length, a stride is not twice the one before, or the coarsest set is too
            short for `spp`.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: Sequence[int] | None = None,
        convolutions: Sequence[int] | None = None,
        spp: bool = False,
    ) -> None:
        super().__init__()
        channels = list(channels) if channels is not None else [max(1, count // 2) for count in in_channels]
        convolutions = list(convolutions) if convolutions is not None else [5] * len(in_channels)
        check_levels(type(self).__name__, in_channels, strides, channels, convolutions)
        if spp and convolutions[-1] < 3:
            raise InputError(f"YOLOv3Neck pools after the third convolution of a set, but has {convolutions[-1]}")
        self.sets, self.outputs, self.laterals = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for level, (incoming, own, count) in enumerate(zip(in_channels, channels, convolutions, strict=True)):
            coarsest = level == len(channels) - 1
            if not coarsest:
                # From the coarser map comes half of its set's channels.
                half = max(1, channels[level + 1] // 2)
                below = channels[level + 1] if convolutions[level + 1] else in_channels[level + 1]
                self.laterals.append(convolution(below, half, 1))
                incoming += half
            self.sets.append(convolution_set(incoming, own, count, spp and coarsest))
            self.outputs.append(convolution(own if count else incoming, 2 * own, 3))
        self.channels, self.strides = [2 * count for count in channels], list(strides)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps of the sizes of `features`, finest first."""
        x, outputs = None, []
        for level in range(len(features) - 1, -1, -1):
            joined = features[level]
            if x is not None:
                raised = F.interpolate(self.laterals[level](x), size=joined.shape[-2:])
                joined = torch.cat((raised, joined), dim=1)
            x = self.sets[level](joined)
            outputs.append(self.outputs[level](x))
        return outputs[::-1]


def convolution_set(in_channels: int, channels: int, count: int, spp: bool = False) -> nn.Sequential:
    """`count` convolutions, alternately 1x1 with `channels` and 3x3 with twice as many; with `spp`, pooling after the
    third."""
    sizes = [(2 * channels, 3) if index % 2 else (channels, 1) for index in range(count)]
    if not spp:
        return alternating(in_channels, sizes)
    pooled = convolution(4 * channels, channels, 1)
    return nn.Sequential(alternating(in_channels, sizes[:3]), SPP(), pooled, alternating(channels, sizes[3:]))


def check_levels(
    name: str, in_channels: Sequence[int], strides: Sequence[int], channels: Sequence[int], convolutions: Sequence[int]
) -> None:
    """Raise InputError unless all have the same length and each stride is twice the one before."""
    if not len(in_channels) == len(strides) == len(channels) == len(convolutions):
        raise InputError(
            f"{name} got maps with channels {list(in_channels)} and strides {list(strides)}, but own channels "
            f"{list(channels)} and convolutions {list(convolutions)}"
        )
    if any(2 * fine != coarse for fine, coarse in pairwise(strides)):
        raise InputError(f"{name} needs maps each of twice the stride of the one before, got strides {list(strides)}")
