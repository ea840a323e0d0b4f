"""Layers of heads that share their weights over all levels of a pyramid (RPN, RetinaNet, FCOS)."""

from __future__ import annotations

import math
from collections.abc import Sequence

from torch import Tensor, nn

from detkit.errors import InputError

PRIOR = 0.01  # the probability of an object at initialization (Lin 2017, section 4.1)


def shared_channels(head: str, in_channels: Sequence[int], strides: Sequence[int]) -> int:
    """The number of channels that all levels have.

    Raises:
        InputError: the levels differ in channels, or there are not as many strides; the message begins with `head`.
    """
    if len(set(in_channels)) != 1:
        raise InputError(f"{head} shares one head over all levels, but they have channels {list(in_channels)}")
    if len(in_channels) != len(strides):
        raise InputError(f"{head} got levels with channels {list(in_channels)} but with strides {list(strides)}")
    return in_channels[0]


def tower(channels: int, convolutions: int, group_norm: bool) -> nn.Sequential:
    """3x3 convolutions with ReLU that keep the number of channels, optionally with group norm.

    Of 256 channels the norm has 32 groups.
    """
    groups = math.gcd(channels, channels // 8 or 1, 32)  # of 8 channels or more: there is no norm of a single number
    layers = []
    for _ in range(convolutions):
        norm = [nn.GroupNorm(groups, channels)] if group_norm else []
        convolution = init_normal_(nn.Conv2d(channels, channels, 3, padding=1))
        layers.append(nn.Sequential(convolution, *norm, nn.ReLU(inplace=True)))
    return nn.Sequential(*layers)


def init_normal_(conv: nn.Conv2d, bias: float = 0.0) -> nn.Conv2d:
    """Initialize `conv` with weights of standard deviation 0.01 and a constant `bias`; returns it."""
    nn.init.normal_(conv.weight, std=0.01)
    if conv.bias is not None:
        nn.init.constant_(conv.bias, bias)
    return conv


def init_focal_bias_(conv: nn.Conv2d) -> nn.Conv2d:
    """Initialize `conv` so that its logits predict an object with probability `PRIOR`; returns it.

    Otherwise the many locations without an object would dominate the loss at first (Lin 2017, section 3.3).
    """
    return init_normal_(conv, bias=-math.log((1 - PRIOR) / PRIOR))


def flatten_predictions(x: Tensor, values: int) -> Tensor:
    """``(B, A * values, H, W)`` as ``(B, H * W * A, values)``."""
    batch, channels, height, width = x.shape
    x = x.view(batch, channels // values, values, height, width)
    return x.permute(0, 3, 4, 1, 2).reshape(batch, -1, values)
