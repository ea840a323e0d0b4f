"""The head of DeepLabv3+: the encoder's ASPP, and the decoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.deeplab.aspp import ASPP, convolution
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput


class DeepLabV3PlusHead(PixelHead):
    """Class logits from the coarsest map and the finest (Chen 2018, figure 2).

        coarsest map -> ASPP (256) -> upsample -+-> concat (304, h, w) -> 2 3x3 convs (256, h, w) -> 1x1 conv -> logits
        finest map (C, h, w) -> 1x1 conv (48) --+

    Each convolution but the last is followed by batch norm and ReLU.

    Args:
        channels: of the backbone's maps, finest first; the finest of stride 4 in the paper.
        strides: of the same.
        num_classes: classes, background included where the data has it.
        criteria: see `PixelHead`.
        rates: of ASPP; None: 6, 12 and 18 at stride 16, twice as much at stride 8.
        width: channels of ASPP and of the decoder.
        low_width: channels that the finest map is reduced to.
        dropout: of ASPP.
        separable: all 3x3 convolutions are depthwise separable, as with the paper's Xception (section 3.1); with its
            ResNet-101 they are plain ones.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        criteria: Mapping[str, PixelCriterion] | None = None,
        rates: Sequence[int] | None = None,
        width: int = 256,
        low_width: int = 48,
        dropout: float = 0.5,
        separable: bool = True,
    ) -> None:
        super().__init__(num_classes, criteria)
        self.aspp = ASPP(channels[-1], strides[-1], rates, width, dropout, separable)
        self.reduce = convolution(channels[0], low_width, 1)
        self.refine = nn.Sequential(
            convolution(width + low_width, width, 3, separable=separable),
            convolution(width, width, 3, separable=separable),
        )
        self.classes = nn.Conv2d(width, num_classes, 1)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of the last convolution."""
        return {"classes": ClassRows(nn.Conv2d.reset_parameters)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, h, w)`` at the resolution of the finest map."""
        low = self.reduce(features[0])
        deep = F.interpolate(self.aspp(features[-1]), size=low.shape[-2:], mode="bilinear", align_corners=False)
        return PixelOutput(self.classes(self.refine(torch.cat((deep, low), dim=1))))
