"""Path aggregation network (Liu 2018; YOLOv4, section 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones.darknet import convolution
from detkit.necks.drop_block import DropBlock
from detkit.necks.neck import Neck
from detkit.necks.yolo_v3 import check_levels, convolution_set


class PAN(Neck):
    """YOLOv4's neck: a top-down path from coarse to fine maps, then a bottom-up path back, joined by concatenation.

        C5 --set with SPP--T5-----------concat--set--N5--3x3--> P5
                           | x 2        | x 1/2
        C4 --1x1--concat--set--T4--concat--set--N4--3x3--> P4
                           | x 2   | x 1/2
        C3 --1x1--concat--set--T3 = N3--3x3--> P3

    Args:
        in_channels: channels of each incoming map, finest first.
        strides: strides of the incoming maps, each twice the one before.
        channels: of the 1x1 convolutions of each map; None: half of the incoming ones. Outgoing maps have twice as
            many.
        convolutions: number in each set except that of the coarsest map, which has 5.
        spp: pool the coarsest map over windows of 5, 9 and 13 cells.
        drop_block: the fraction of each set's output that DropBlock zeroes in training; 0 for none.

    Raises:
        InputError: `in_channels`, `strides` and `channels` differ in length, or a stride is not twice the one before.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: Sequence[int] | None = None,
        convolutions: int = 5,
        spp: bool = True,
        drop_block: float = 0.0,
    ) -> None:
        super().__init__()
        channels = list(channels) if channels is not None else [max(1, count // 2) for count in in_channels]
        check_levels(type(self).__name__, in_channels, strides, channels, [convolutions] * len(channels))
        self.coarsest = convolution_set(in_channels[-1], channels[-1], 5, spp)
        pairs = list(pairwise(channels))  # each map and the next coarser one
        self.laterals = nn.ModuleList(
            convolution(count, own, 1) for count, own in zip(in_channels, channels[:-1], strict=False)
        )
        self.raises = nn.ModuleList(convolution(coarse, own, 1) for own, coarse in pairs)
        self.down_sets = nn.ModuleList(convolution_set(2 * own, own, convolutions) for own, _ in pairs)
        self.lowers = nn.ModuleList(convolution(own, coarse, 3, 2) for own, coarse in pairs)
        self.up_sets = nn.ModuleList(convolution_set(2 * coarse, coarse, convolutions) for _, coarse in pairs)
        self.outputs = nn.ModuleList(convolution(own, 2 * own, 3) for own in channels)
        self.drop = DropBlock(drop_block) if drop_block else nn.Identity()
        self.channels, self.strides = [2 * count for count in channels], list(strides)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """Maps of the sizes of `features`, finest first."""
        coarse_to_fine = [self.drop(self.coarsest(features[-1]))]
        for level in range(len(features) - 2, -1, -1):
            raised = F.interpolate(self.raises[level](coarse_to_fine[0]), size=features[level].shape[-2:])
            joined = torch.cat((self.laterals[level](features[level]), raised), dim=1)
            coarse_to_fine.insert(0, self.drop(self.down_sets[level](joined)))
        back = coarse_to_fine[:1]
        for lower, up_set, coarse in zip(self.lowers, self.up_sets, coarse_to_fine[1:], strict=True):
            back.append(self.drop(up_set(torch.cat((lower(back[-1]), coarse), dim=1))))
        return [output(x) for output, x in zip(self.outputs, back, strict=True)]
