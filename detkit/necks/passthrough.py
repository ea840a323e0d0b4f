"""YOLOv2's passthrough layer: the finer map, rearranged from space to depth, concatenated with the coarse one."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.backbones.darknet import alternating, convolution
from detkit.deprecation import moved_names
from detkit.errors import InputError
from detkit.necks.neck import Neck


class Passthrough(Neck):
    """Brings the finer of the last two maps to the coarse resolution and concatenates both (YOLOv2, section 2).

        coarse --3x3--3x3-------------+
                                      concat --3x3--> one map
        fine ---1x1--reorg (x 1/2)----+

    Args:
        in_channels: channels of each map, finest first; the last two are used.
        strides: strides of the maps.
        channels: of the outgoing map; None: as many as the coarse map has.
        fine_channels: of the fine map before its cells are stacked.

    Raises:
        InputError: the last stride is not twice the one before, or `fine_channels` is not a multiple of 4.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        channels: int | None = None,
        fine_channels: int = 64,
    ) -> None:
        super().__init__()
        if len(strides) < 2 or strides[-1] != 2 * strides[-2]:
            raise InputError(f"Passthrough needs two maps, one twice as coarse, got strides {list(strides)}")
        if fine_channels % 4:
            raise InputError(f"Passthrough's fine_channels must be a multiple of 4, got {fine_channels}")
        channels = channels if channels is not None else in_channels[-1]
        self.coarse = alternating(in_channels[-1], [(channels, 3)] * 2)
        self.fine = convolution(in_channels[-2], fine_channels, 1)
        self.merge = convolution(4 * fine_channels + channels, channels, 3)
        self.channels, self.strides = [channels], [strides[-1]]

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """One map of the coarsest resolution."""
        fine = reorganize(self.fine(features[-2]))
        return [self.merge(torch.cat((fine, self.coarse(features[-1])), dim=1))]


def reorganize(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` as ``(B, 4 C, H / 2, W / 2)``, in the order of darknet's ``reorg`` with stride 2.

    Darknet does not stack neighboring cells of a channel: it reads the memory as a map of ``C / 4`` channels, twice
    as wide and high, and stacks the cells of that. Its published weights need the same.
    """
    channels, height, width = x.shape[1:]
    # Contiguous memory, whatever the memory format of `x`.
    x = torch.unflatten(x.flatten(1), 1, (channels // 4, height, 2, width, 2))
    stacked = x.permute(0, 3, 5, 1, 2, 4)
    return torch.unflatten(stacked.flatten(1), 1, (4 * channels, height // 2, width // 2))


__getattr__ = moved_names(__name__, {"reorganised": "detkit.necks.passthrough.reorganize"})
