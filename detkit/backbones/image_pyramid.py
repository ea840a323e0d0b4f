"""One trunk at several sizes of the image."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from detkit.backbones.backbone import Backbone
from detkit.errors import InputError


class ImagePyramid(Backbone):
    """The coarsest map of a trunk, for the images at several scales (OverFeat, section 3.3).

    What stands on it sees one level per scale, finest first: levels of one kind, as those of a feature pyramid are,
    and strides in pixels of the image as it was given, which need not be whole numbers.

    Args:
        trunk: any trunk; of several maps the coarsest is taken.
        scales: factors of the image's size.

    Raises:
        InputError: no scale, or one that is not positive.
    """

    def __init__(self, trunk: Backbone, scales: Sequence[float]) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise InputError(f"scales must be one or more positive factors of the image's size, got {list(scales)}")
        self.trunk = trunk
        self.scales = sorted(scales, reverse=True)
        self.channels = [trunk.channels[-1]] * len(self.scales)
        self.strides = [trunk.strides[-1] / scale for scale in self.scales]

    def forward(self, images: Tensor) -> list[Tensor]:
        """The trunk's coarsest map of `images` ``(B, 3, H, W)`` at each scale, largest scale first."""
        return [self.trunk(_resized(images, scale))[-1] for scale in self.scales]


def _resized(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    # The factor is kept as it is, so that pixels map to pixels by it alone; rounding costs a strip at the border.
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, antialias=scale < 1)
