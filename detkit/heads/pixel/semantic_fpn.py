"""The semantic head of Panoptic FPN (Kirillov, Girshick, He and Dollár 2019)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Context
from detkit.heads.pixel.criteria import PixelCriterion
from detkit.heads.pixel.pixel_head import PixelHead, PixelOutput

_COARSEST = 32  # the stride of C5: coarser maps are added for large boxes only


class SemanticFPNHead(PixelHead):
    """Class logits from all levels of a feature pyramid (Kirillov 2019, section 3, figure 3).

        P5 (256, H/32, W/32) -> 3 x [3x3 conv, group norm, ReLU, 2x] -+
        P4 (256, H/16, W/16) -> 2 x [3x3 conv, group norm, ReLU, 2x] -+
        P3 (256, H/8, W/8)   -> 1 x [3x3 conv, group norm, ReLU, 2x] -+
        P2 (256, H/4, W/4)   -> 1 x [3x3 conv, group norm, ReLU]     -+-> sum (128, H/4, W/4) -> 1x1 conv -> logits

    Levels are brought to the size of the finest bilinearly. Those of a stride above 32 are left out.

    Args:
        channels: of the pyramid, finest first.
        strides: of the same.
        num_classes: classes, background included where the data has it.
        hidden: channels within the head.
        groups: of the group norm.
        criteria: see `PixelHead`.

    Raises:
        InputError: there is no level of a stride up to 32, or `hidden` is no multiple of `groups`.
    """

    def __init__(
        self,
        channels: Sequence[int],
        strides: Sequence[int],
        num_classes: int,
        hidden: int = 128,
        groups: int = 32,
        criteria: Mapping[str, PixelCriterion] | None = None,
    ) -> None:
        super().__init__(num_classes, criteria)
        used = [width for width, stride in zip(channels, strides, strict=True) if stride <= _COARSEST]
        if not used:
            raise InputError(f"SemanticFPNHead needs maps of strides up to {_COARSEST}, got strides {list(strides)}")
        if groups < 1 or hidden % groups:
            raise InputError(f"SemanticFPNHead: hidden must be a multiple of groups, got {hidden} and {groups}")
        self.levels = nn.ModuleList(
            nn.Sequential(*(_Layer(hidden if number else width, hidden, groups) for number in range(max(1, level))))
            for level, width in enumerate(used)
        )
        self.classes = nn.Conv2d(hidden, num_classes, 1)
        init_(self.classes)

    def class_rows(self) -> Mapping[str, ClassRows]:
        """The outputs of the last convolution."""
        return {"classes": ClassRows(init_)}

    def forward(self, features: Sequence[Tensor], context: Context) -> PixelOutput:
        """Logits ``(B, K, h, w)`` at the resolution of the finest map."""
        sizes = [one.shape[-2:] for one in features]
        summed: Tensor | None = None
        for level, (layers, feature) in enumerate(zip(self.levels, features, strict=False)):
            for number, layer in enumerate(layers.children()):
                feature = layer(feature)
                if level:  # one step up, to the size of the next finer map
                    size = sizes[level - 1 - number]
                    feature = F.interpolate(feature, size=size, mode="bilinear", align_corners=False)
            summed = feature if summed is None else summed + feature
        return PixelOutput(self.classes(summed))


class _Layer(nn.Module):
    """3x3 conv, group norm, ReLU."""

    def __init__(self, in_channels: int, out_channels: int, groups: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_channels, out_channels, 3, padding=1, bias=False)
        self.norm = nn.GroupNorm(groups, out_channels)
        init_(self.conv)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.norm(self.conv(x)))


def init_(layer: nn.Conv2d) -> None:
    """Initialize a convolution of the head in place."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
