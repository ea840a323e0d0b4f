"""Atrous spatial pyramid pooling, and the convolutions that DeepLab's heads are made of."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.errors import InputError


class ASPP(nn.Module):
    """Convolutions of several rates and the mean of the image, side by side (Chen 2017, section 3.3 and figure 5).

        map (C, h, w) -+-> 1x1 (256, h, w) --------------------------+
                       +-> 3x3, rate 6 (256, h, w) ------------------+
                       +-> 3x3, rate 12 (256, h, w) -----------------+-> concat (1280, h, w) -> 1x1, dropout (256, h, w)
                       +-> 3x3, rate 18 (256, h, w) -----------------+
                       +-> mean (C, 1, 1) -> 1x1 (256) -> expand ----+

    Each convolution is followed by batch norm and ReLU.

    Args:
        channels: of the map.
        stride: of the map.
        rates: of the 3x3 convolutions; None: 6, 12 and 18 at stride 16, twice as much at stride 8.
        width: channels of each branch and of the output.
        dropout: share of the output's values that are dropped in training, as in torchvision; the papers name none.
        separable: the 3x3 convolutions are depthwise separable (Chen 2018, section 3.1).
    """

    def __init__(
        self,
        channels: int,
        stride: int,
        rates: Sequence[int] | None = None,
        width: int = 256,
        dropout: float = 0.5,
        separable: bool = False,
    ) -> None:
        super().__init__()
        rates = [max(1, rate * 16 // stride) for rate in (6, 12, 18)] if rates is None else rates
        self.pointwise = convolution(channels, width, 1)
        self.atrous = nn.ModuleList(convolution(channels, width, 3, rate, separable) for rate in rates)
        self.image = convolution(channels, width, 1)
        self.project = convolution((2 + len(rates)) * width, width, 1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, features: Tensor) -> Tensor:
        """The output ``(B, width, h, w)`` of a map ``(B, channels, h, w)``.

        Raises:
            InputError: batch norm in training, of one image alone, whose mean has no variance to normalize by.
        """
        norm = self.image[1]  # a synchronized one has the images of other processes too, a frozen one needs none
        if isinstance(norm, nn.BatchNorm2d) and norm.training and len(features) == 1:
            raise InputError(
                "the image pooling of DeepLab's ASPP normalizes over the images of a batch, so that training needs at "
                "least 2 of them per process: raise data.batch_size, or set trainer.sync_batchnorm on several GPUs"
            )
        image: Tensor = self.image(features.mean(dim=(2, 3), keepdim=True))
        branches = [self.pointwise(features), *(branch(features) for branch in self.atrous)]
        together = torch.cat([*branches, image.expand_as(branches[0])], dim=1)
        output: Tensor = self.dropout(self.project(together))
        return output


def convolution(channels: int, width: int, size: int, rate: int = 1, separable: bool = False) -> nn.Sequential:
    """A convolution that keeps the size of a map, batch norm and ReLU.

    Args:
        channels: of the map.
        width: channels of the output.
        size: of the kernel, odd.
        rate: dilation.
        separable: a convolution of each channel goes before one of size 1 (Chen 2018, section 3.1), each with batch
            norm and ReLU (section 3.2).
    """
    padding = rate * (size // 2)
    if separable:
        depthwise = nn.Conv2d(channels, channels, size, padding=padding, dilation=rate, groups=channels, bias=False)
        return nn.Sequential(*_normalized(depthwise), *_normalized(nn.Conv2d(channels, width, 1, bias=False)))
    return nn.Sequential(*_normalized(nn.Conv2d(channels, width, size, padding=padding, dilation=rate, bias=False)))


def _normalized(layer: nn.Conv2d) -> tuple[nn.Module, ...]:
    return layer, nn.BatchNorm2d(layer.out_channels), nn.ReLU()
