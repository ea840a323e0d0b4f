"""The head of MobileNetV3 for segmentation, Lite R-ASPP."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.deeplab.aspp import convolution
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput


class LRASPPHead(PixelHead):
    """Class logits from the coarsest map, gated by its mean, plus those of the finest (Howard 2019, figure 10).

        coarsest map -+-> 1x1 conv, batch norm, ReLU -+-> times -> upsample -> 1x1 conv -+-> plus -> logits
                      +-> mean -> 1x1 conv, sigmoid --+                                  |
        finest map ----------------------------------------------------------> 1x1 conv -+

    The mean is that of the whole map, as in torchvision. The paper's gate is a map: means of 49 x 49 cells at a stride
    of 16 x 20, upsampled.

    Args:
        channels: of the backbone's maps, finest first; of strides 8 and 16 in the paper.
        strides: of the same.
        num_classes: classes, background included where the data has it.
        criteria: see `PixelHead`.
        width: channels of the gated map.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        criteria: Mapping[str, PixelCriterion] | None = None,
        width: int = 128,
    ) -> None:
        super().__init__(num_classes, criteria)
        self.high = convolution(channels[-1], width, 1)
        self.gate = nn.Conv2d(channels[-1], width, 1, bias=False)
        self.low_classes = nn.Conv2d(channels[0], num_classes, 1)
        self.high_classes = nn.Conv2d(width, num_classes, 1)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of both last convolutions."""
        rows = ClassRows(nn.Conv2d.reset_parameters)
        return {"low_classes": rows, "high_classes": rows}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, h, w)`` at the resolution of the finest map."""
        low, high = features[0], features[-1]
        gated = self.high(high) * self.gate(high.mean(dim=(2, 3), keepdim=True)).sigmoid()
        gated = F.interpolate(gated, size=low.shape[-2:], mode="bilinear", align_corners=False)
        return PixelOutput(self.low_classes(low) + self.high_classes(gated))
