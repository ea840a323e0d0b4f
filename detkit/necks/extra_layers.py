"""The necks of SSD and SSDlite: extra maps after the backbone's last one, each smaller than the one before."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.backbones.tapped_mobilenet import NormalizedConvolution, init_ssdlite_
from detkit.errors import InputError
from detkit.necks.neck import Neck

Layer = tuple[int, int, int, int, int]

SSD300_LAYERS: tuple[Layer, ...] = ((256, 512, 3, 2, 1), (128, 256, 3, 2, 1), (128, 256, 3, 1, 0), (128, 256, 3, 1, 0))
"""19 x 19 cells of fc7 become 10, 5, 3 and 1 (Liu 2016, figure 2)."""

SSD512_LAYERS: tuple[Layer, ...] = (
    (256, 512, 3, 2, 1),
    (128, 256, 3, 2, 1),
    (128, 256, 3, 2, 1),
    (128, 256, 3, 2, 1),
    (128, 256, 4, 1, 1),
)
"""32 x 32 cells of fc7 become 16, 8, 4, 2 and 1 (the authors' ``ssd_pascal_512``)."""

COARSEST_STRIDE = 64  # at 300 pixels 5 x 5 cells, from which two 3 x 3 convolutions lead to 1


class L2Norm(nn.Module):
    """L2-normalizes the vector of each cell and scales it per channel (Liu 2015, ParseNet, section 3.3).

    Args:
        channels: of the map.
        scale: initial factor.
    """

    def __init__(self, channels: int, scale: float = 20.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), scale))

    def forward(self, x: Tensor) -> Tensor:
        """`x` ``(B, C, H, W)``, normalized in float32 also under autocast, where squares may overflow."""
        return (F.normalize(x.float()) * self.scale[:, None, None]).to(x.dtype)


class ExtraLayers(Neck):
    """SSD's neck: the backbone's maps, the finest one rescaled, and extra maps by a 1x1 and a larger convolution each.

        conv4_3 --L2Norm-------------------------------------------> P1     (Liu 2016, figure 2 and section 3.1)
        fc7 -----+-------------------------------------------------> P2
                 1x1--3x3/2--+-------------------------------------> P3
                             1x1--3x3/2--+-------------------------> P4 ...

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        layers: for each extra map (channels of the 1x1 convolution, channels of the map, and size, stride and padding
            of its convolution). None: those of SSD300 after the stride of the last map, which halve the map up to a
            stride of 64; then two without padding lead from 5 x 5 cells at 300 pixels to 1.
        l2_norm: rescale the finest map, whose activations are larger than the others' in a backbone without batch norm.
        batch_norm: add batch norm after each convolution, as training from random weights needs.

    Raises:
        InputError: `in_channels` and `strides` differ in length.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        layers: Sequence[Layer] | None = None,
        l2_norm: bool = True,
        batch_norm: bool = False,
    ) -> None:
        super().__init__()
        _check(type(self).__name__, in_channels, strides)
        layers = layers if layers is not None else _as_ssd300(strides[-1])
        self.norm = L2Norm(in_channels[0]) if l2_norm else nn.Identity()
        self.extra = nn.ModuleList()
        self._least_cells = [size - 2 * padding for _, _, size, _, padding in layers]
        self.channels, self.strides = list(in_channels), list(strides)
        for hidden, channels, size, stride, padding in layers:
            self.extra.append(
                nn.Sequential(
                    *_convolution(self.channels[-1], hidden, 1, 1, 0, batch_norm),
                    *_convolution(hidden, channels, size, stride, padding, batch_norm),
                )
            )
            self.channels.append(channels)
            self.strides.append(self.strides[-1] * stride)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """`features`, the first one rescaled, and the extra maps, finest first."""
        maps = [self.norm(features[0]), *features[1:]]
        x = features[-1]
        for layers, cells in zip(self.extra, self._least_cells, strict=True):
            x = layers(_at_least(x, cells))
            maps.append(x)
        return maps


class SeparableExtraLayers(Neck):
    """SSDlite's neck: each extra map by a 1x1 to half the channels, a depthwise 3x3 of stride 2, and a 1x1.

    Sandler 2018, section 6.2.

    Args:
        in_channels: channels of each map, finest first.
        strides: strides of the maps.
        extra_channels: channels of the extra maps.

    Raises:
        InputError: `in_channels` and `strides` differ in length.
    """

    def __init__(
        self,
        in_channels: Sequence[int],
        strides: Sequence[int],
        extra_channels: Sequence[int] = (512, 256, 256, 128),
    ) -> None:
        super().__init__()
        _check(type(self).__name__, in_channels, strides)
        self.channels = [*in_channels, *extra_channels]
        self.strides = [*strides, *(strides[-1] * 2**level for level in range(1, len(extra_channels) + 1))]
        self.extra = nn.ModuleList()
        for channels, out_channels in zip(self.channels[len(in_channels) - 1 :], extra_channels, strict=False):
            hidden = out_channels // 2
            self.extra.append(
                nn.Sequential(
                    NormalizedConvolution(channels, hidden, 1),
                    NormalizedConvolution(hidden, hidden, 3, stride=2, groups=hidden),
                    NormalizedConvolution(hidden, out_channels, 1),
                )
            )
        init_ssdlite_(self.extra)

    def forward(self, features: list[Tensor]) -> list[Tensor]:
        """`features` and the extra maps, finest first."""
        maps = list(features)
        for layers in self.extra:
            maps.append(layers(maps[-1]))
        return maps


def _as_ssd300(stride: int) -> list[Layer]:
    """The layers of SSD300 after a map of `stride`."""
    halving = max(0, math.ceil(math.log2(COARSEST_STRIDE / stride)))
    return [*SSD300_LAYERS[:1], *SSD300_LAYERS[1:2] * (halving - 1), *SSD300_LAYERS[2:]][-2 - halving :]


def _convolution(
    in_channels: int, out_channels: int, size: int, stride: int, padding: int, batch_norm: bool
) -> list[nn.Module]:
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding, bias=not batch_norm)
    nn.init.xavier_uniform_(conv.weight)
    if conv.bias is None:
        return [conv, nn.BatchNorm2d(out_channels), nn.ReLU(inplace=True)]
    nn.init.zeros_(conv.bias)
    return [conv, nn.ReLU(inplace=True)]


def _at_least(x: Tensor, cells: int) -> Tensor:
    """`x` padded evenly to at least `cells` in each direction, so that a convolution of that size fits."""
    missing = [max(0, cells - have) for have in x.shape[-2:]]
    top, left = missing[0] // 2, missing[1] // 2
    return F.pad(x, (left, missing[1] - left, top, missing[0] - top)) if any(missing) else x


def _check(name: str, in_channels: Sequence[int], strides: Sequence[int]) -> None:
    if len(in_channels) != len(strides) or not strides:
        raise InputError(f"{name} got maps with channels {list(in_channels)} but with strides {list(strides)}")
