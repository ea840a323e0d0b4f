"""Upsampling by a transposed convolution that begins as bilinear interpolation."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import InputError


class BilinearUpsampling(nn.Conv2d):
    """A transposed convolution with stride, one kernel of each class, that is bilinear interpolation at first.

    It is a convolution seen from behind and holds the weights of that convolution, `channels` outputs of one input
    each, so that it is resized for other classes as any layer. The kernels of FCN's authors also have entries from
    each class to each other one, which are zero and stay so in all that they published.

    Args:
        channels: of the input and the output.
        factor: the stride, even, so that half a cell is a whole number of pixels; the kernel has ``2 * factor`` cells.
        learned: train the kernels; else they stay bilinear.

    Raises:
        InputError: `factor` is odd.
    """

    def __init__(self, channels: int, factor: int, learned: bool) -> None:
        if factor < 2 or factor % 2:
            raise InputError(
                f"BilinearUpsampling needs an even factor, such as the stride of a map, got {factor}: choose maps of "
                "strides of at least 2"
            )
        super().__init__(1, channels, 2 * factor, stride=factor, bias=False)
        self.weight.requires_grad_(learned)

    def reset_parameters(self) -> None:
        """Make all kernels bilinear."""
        with torch.no_grad():
            self.weight.copy_(bilinear_kernel(self.stride[0]))

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, h, w)`` to ``(B, C, (h + 1) factor, (w + 1) factor)``: half a cell more on each side."""
        return F.conv_transpose2d(input, self.weight, stride=self.stride, groups=len(self.weight))


def bilinear_kernel(factor: int) -> Tensor:
    """The kernel ``(2 factor, 2 factor)`` whose transposed convolution of stride `factor` interpolates bilinearly."""
    distance = (torch.arange(2 * factor) + 0.5 - factor).abs() / factor
    return (1 - distance)[:, None] * (1 - distance)
