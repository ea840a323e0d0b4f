"""The fully convolutional head of torchvision's FCN."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput


class FCNHead(PixelHead):
    """Class logits from one map, without skips (torchvision's ``fcn_resnet50``).

        map (C, h, w) -> 3x3 conv, batch norm, ReLU (C/4, h, w) -> dropout of 0.1 -> 1x1 conv -> logits (K, h, w)

    Args:
        channels: of the backbone's maps, finest first.
        strides: of the same.
        num_classes: classes, background included where the data has it.
        criteria: see `PixelHead`.
        level: position of the map among those of the backbone; -1 is the coarsest.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        criteria: Mapping[str, PixelCriterion] | None = None,
        level: int = -1,
    ) -> None:
        super().__init__(num_classes, criteria)
        if not -len(channels) <= level < len(channels):
            raise InputError(f"FCNHead takes the map at level {level}, but there are {len(channels)}: add a stage")
        self.level = level
        inner = max(1, channels[level] // 4)
        self.conv = nn.Conv2d(channels[level], inner, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(inner)
        self.dropout = nn.Dropout(0.1)
        self.classes = nn.Conv2d(inner, num_classes, 1)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of the last convolution."""
        return {"classes": ClassRows(nn.Conv2d.reset_parameters)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, h, w)`` at the resolution of the map."""
        return PixelOutput(self.classes(self.dropout(self.norm(self.conv(features[self.level])).relu())))
