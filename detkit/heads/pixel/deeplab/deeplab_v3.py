"""The head of DeepLabv3."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.deeplab.aspp import ASPP, convolution
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput


class DeepLabV3Head(PixelHead):
    """Class logits from the coarsest map, seen at several rates (Chen 2017, "Rethinking atrous convolution", figure 5).

        map (C, h, w) -> ASPP (256, h, w) -> 3x3 conv, batch norm, ReLU (256, h, w) -> 1x1 conv -> logits (K, h, w)

    The 3x3 convolution behind ASPP is torchvision's; the paper has none.

    Args:
        channels: of the backbone's maps, finest first.
        strides: of the same.
        num_classes: classes, background included where the data has it.
        criteria: see `PixelHead`.
        rates: of ASPP; None: 6, 12 and 18 at stride 16, twice as much at stride 8.
        width: channels of all layers.
        dropout: of ASPP.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        criteria: Mapping[str, PixelCriterion] | None = None,
        rates: Sequence[int] | None = None,
        width: int = 256,
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes, criteria)
        self.aspp = ASPP(channels[-1], strides[-1], rates, width, dropout)
        self.conv = convolution(width, width, 3)
        self.classes = nn.Conv2d(width, num_classes, 1)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of the last convolution."""
        return {"classes": ClassRows(nn.Conv2d.reset_parameters)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, h, w)`` at the resolution of the coarsest map."""
        return PixelOutput(self.classes(self.conv(self.aspp(features[-1]))))
