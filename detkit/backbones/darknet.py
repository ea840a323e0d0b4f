"""Darknet's backbones of the YOLO family: 1x1 and 3x3 convolutions with batch norm and leaky ReLU or Mish.

All of them take `width`, a factor of all numbers of channels, so that small ones train on a CPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from itertools import pairwise

import torch
from torch import Tensor, nn

from detkit.backbones.backbone import Backbone
from detkit.deprecation import moved_names
from detkit.errors import InputError

Activation = Callable[[], nn.Module]
LEAKY: Activation = partial(nn.LeakyReLU, 0.1, inplace=True)
MISH: Activation = partial(nn.Mish, inplace=True)


def convolution(
    in_channels: int, out_channels: int, size: int, stride: int = 1, activation: Activation = LEAKY
) -> nn.Sequential:
    """A convolution with padding that keeps the size at stride 1, batch norm, and activation."""
    conv = nn.Conv2d(in_channels, out_channels, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(conv.weight, a=0.1)
    return nn.Sequential(conv, nn.BatchNorm2d(out_channels), activation())


def alternating(in_channels: int, sizes: Sequence[tuple[int, int]], activation: Activation = LEAKY) -> nn.Sequential:
    """A sequence of convolutions, each given as (channels, kernel size)."""
    layers = []
    for channels, size in sizes:
        layers.append(convolution(in_channels, channels, size, activation=activation))
        in_channels = channels
    return nn.Sequential(*layers)


class StagedBackbone(Backbone):
    """A sequence of stages that each halve the resolution; stage ``n`` has stride ``2^n``.

    Args:
        stages: stage 1, 2 ...
        channels: of the output of each stage.
        returned: the stages to return, finest first.

    Raises:
        InputError: there is no such stage.
    """

    def __init__(self, stages: Sequence[nn.Module], channels: Sequence[int], returned: Sequence[int]) -> None:
        super().__init__()
        unknown = [stage for stage in returned if not 1 <= stage <= len(stages)]
        if unknown or not returned:
            raise InputError(f"{type(self).__name__} has no stages {unknown}: it has 1 to {len(stages)}")
        self.returned = sorted(set(returned))
        self.stages = nn.ModuleList(stages[: self.returned[-1]])
        self.channels = [channels[stage - 1] for stage in self.returned]
        self.strides = [2**stage for stage in self.returned]

    def forward(self, images: Tensor) -> list[Tensor]:
        x, features = images, []
        for number, stage in enumerate(self.stages, 1):
            x = stage(x)
            if number in self.returned:
                features.append(x)
        return features


class YOLOv1Backbone(StagedBackbone):
    """The backbone of YOLOv1: its 24 convolutions, inspired by GoogLeNet (YOLOv1, figure 3), with batch norm.

    Args:
        width: factor of all channels.
        stages: the stages to return; 6 with stride 64 is the last.
    """

    def __init__(self, width: float = 1.0, stages: Sequence[int] = (6,)) -> None:
        scaled = partial(_scaled, width)
        half, full = (scaled(256), 1), (scaled(512), 3)
        plans = [
            [(scaled(192), 3)],
            [(scaled(128), 1), (scaled(256), 3), half, full],
            [half, full] * 4 + [(scaled(512), 1), (scaled(1024), 3)],
            [(scaled(512), 1), (scaled(1024), 3)] * 2 + [(scaled(1024), 3)],
        ]
        built: list[nn.Module] = [convolution(3, scaled(64), 7, 2)]
        channels = [scaled(64)]
        for plan in plans:
            built.append(nn.Sequential(nn.MaxPool2d(2), alternating(channels[-1], plan)))
            channels.append(plan[-1][0])
        last = channels[-1]
        built.append(nn.Sequential(convolution(last, last, 3, 2), alternating(last, [(last, 3)] * 2)))
        super().__init__(built, [*channels, last], stages)


class Darknet19(StagedBackbone):
    """The backbone of YOLOv2: similar to VGG, with 1x1 convolutions and batch norm (YOLOv2, table 6).

    Args:
        width: factor of all channels.
        stages: the stages to return, finest first; 5 with stride 32 is the last.
    """

    def __init__(self, width: float = 1.0, stages: Sequence[int] = (4, 5)) -> None:
        plans = [[32], [64], [128, 64, 128], [256, 128, 256], [512, 256, 512, 256, 512], [1024, 512, 1024, 512, 1024]]
        # Every second convolution of a block squeezes with 1x1.
        sized = [[(_scaled(width, n), 1 if index % 2 else 3) for index, n in enumerate(plan)] for plan in plans]
        built, in_channels = [], 3
        for number, plan in enumerate(sized):
            block = alternating(in_channels, plan)
            built.append(nn.Sequential(nn.MaxPool2d(2), block) if number else block)
            in_channels = plan[-1][0]
        first = nn.Sequential(built[0], built[1])  # which brings stride 2
        super().__init__([first, *built[2:]], [plan[-1][0] for plan in sized[1:]], stages)


class DarknetTiny(StagedBackbone):
    """The backbone of the tiny YOLOv2 and YOLOv3: one 3x3 convolution per resolution.

    Args:
        width: factor of all channels.
        stages: the stages to return, finest first; 5 with stride 32 is the last.
    """

    def __init__(self, width: float = 1.0, stages: Sequence[int] = (4, 5)) -> None:
        channels = [_scaled(width, count) for count in (16, 32, 64, 128, 256, 512, 1024)]
        first = convolution(3, channels[0], 3)
        steps = [convolution(before, after, 3) for before, after in pairwise(channels)]
        built = [nn.Sequential(first, nn.MaxPool2d(2), steps[0])]
        built += [nn.Sequential(nn.MaxPool2d(2), steps[number]) for number in (1, 2, 3)]
        # A pooling that keeps the size: over a cell and its neighbors to the right and below.
        keep = nn.Sequential(nn.ReplicationPad2d((0, 1, 0, 1)), nn.MaxPool2d(2, stride=1))
        last = [nn.MaxPool2d(2), steps[4], keep, steps[5]]
        super().__init__([*built, nn.Sequential(*last)], [*channels[1:5], channels[6]], stages)


class Residual(nn.Module):
    """A residual block of a 1x1 and a 3x3 convolution (YOLOv3, table 1)."""

    def __init__(self, channels: int, hidden: int, activation: Activation = LEAKY) -> None:
        super().__init__()
        self.convolutions = alternating(channels, [(hidden, 1), (channels, 3)], activation)

    def forward(self, x: Tensor) -> Tensor:
        residual: Tensor = self.convolutions(x)
        return x + residual


class Darknet53(StagedBackbone):
    """The backbone of YOLOv3, made of residual blocks (YOLOv3, table 1).

    Args:
        width: factor of all channels.
        depths: residual blocks of each stage.
        stages: the stages to return, finest first; 5 with stride 32 is the last.
    """

    def __init__(
        self, width: float = 1.0, depths: Sequence[int] = (1, 2, 8, 8, 4), stages: Sequence[int] = (3, 4, 5)
    ) -> None:
        channels = [_scaled(width, 32 * 2**number) for number in range(len(depths) + 1)]
        built = []
        for number, depth in enumerate(depths):
            before, after = channels[number : number + 2]
            blocks = [Residual(after, max(1, after // 2)) for _ in range(depth)]
            built.append(nn.Sequential(convolution(before, after, 3, 2), *blocks))
        built[0] = nn.Sequential(convolution(3, channels[0], 3), built[0])
        super().__init__(built, channels[1:], stages)


class CrossStage(nn.Module):
    """A convolution of stride 2, then two branches: a bypass, and residual blocks (CSPNet, Wang 2019).

    Args:
        in_channels: channels of the input.
        out_channels: channels of the output.
        depth: number of residual blocks.
        split: channels of each branch.
        hidden: channels inside a residual block.
        activation: after each convolution.
    """

    def __init__(
        self, in_channels: int, out_channels: int, depth: int, split: int, hidden: int, activation: Activation = MISH
    ) -> None:
        super().__init__()
        self.down = convolution(in_channels, out_channels, 3, 2, activation)
        self.past = convolution(out_channels, split, 1, activation=activation)
        self.through = nn.Sequential(
            convolution(out_channels, split, 1, activation=activation),
            *(Residual(split, hidden, activation) for _ in range(depth)),
            convolution(split, split, 1, activation=activation),
        )
        self.merge = convolution(2 * split, out_channels, 1, activation=activation)

    def forward(self, x: Tensor) -> Tensor:
        x = self.down(x)
        merged: Tensor = self.merge(torch.cat((self.through(x), self.past(x)), dim=1))
        return merged


class CSPDarknet53(StagedBackbone):
    """The backbone of YOLOv4: Darknet-53 with cross-stage partial connections and Mish (YOLOv4, section 3.4).

    Args:
        width: factor of all channels.
        depths: residual blocks of each stage.
        stages: the stages to return, finest first; 5 with stride 32 is the last.
    """

    def __init__(
        self, width: float = 1.0, depths: Sequence[int] = (1, 2, 8, 8, 4), stages: Sequence[int] = (3, 4, 5)
    ) -> None:
        channels = [_scaled(width, 32 * 2**number) for number in range(len(depths) + 1)]
        built: list[nn.Module] = []
        for number, depth in enumerate(depths):
            before, after = channels[number : number + 2]
            # The branches of the first stage keep all channels; only its block has fewer.
            split, hidden = (max(1, after // 2),) * 2 if number else (after, before)
            built.append(CrossStage(before, after, depth, split, hidden))
        built[0] = nn.Sequential(convolution(3, channels[0], 3, activation=MISH), built[0])
        super().__init__(built, channels[1:], stages)


class CrossStageTiny(nn.Module):
    """A cross-stage block with two 3x3 convolutions on half of the channels (YOLOv4-tiny)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.first = convolution(channels, channels, 3)
        self.second, self.third = convolution(half, half, 3), convolution(half, half, 3)
        self.merge = convolution(2 * half, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """The map before pooling with ``2 * channels``: the output of the first convolution and the merged one."""
        first = self.first(x)
        second = self.second(first[:, first.shape[1] // 2 :])
        merged = self.merge(torch.cat((self.third(second), second), dim=1))
        return torch.cat((first, merged), dim=1)


class CSPDarknetTiny(StagedBackbone):
    """The backbone of YOLOv4-tiny (Scaled-YOLOv4, section 3.3).

    Stages 2 to 4 return the half of their channels that went through all convolutions.

    Args:
        width: factor of all channels.
        stages: the stages to return, finest first; 5 with stride 32 is the last.
    """

    def __init__(self, width: float = 1.0, stages: Sequence[int] = (4, 5)) -> None:
        first, *wide = (2 * _scaled(width, count // 2) for count in (32, 64, 128, 256))
        built = [convolution(3, first, 3, 2)]
        built.append(nn.Sequential(convolution(first, wide[0], 3, 2), CrossStageTiny(wide[0])))
        built += [nn.Sequential(nn.MaxPool2d(2), CrossStageTiny(2 * before)) for before in wide[:2]]
        built.append(nn.Sequential(nn.MaxPool2d(2), convolution(4 * wide[1], 4 * wide[1], 3)))
        super().__init__(built, [first, *wide, 4 * wide[1]], stages)

    def forward(self, images: Tensor) -> list[Tensor]:
        return [x[:, -channels:] for x, channels in zip(super().forward(images), self.channels, strict=True)]


def _scaled(width: float, channels: int) -> int:
    return max(1, round(width * channels))


__getattr__ = moved_names(__name__, {"YOLOv1Trunk": "detkit.backbones.darknet.YOLOv1Backbone"})
