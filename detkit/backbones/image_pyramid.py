"""`ImagePyramid`: one backbone applied to an image at several scales."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from detkit.backbones.backbone import Backbone
from detkit.deprecation.renamed_arguments import takes_old_names
from detkit.errors import InputError


class ImagePyramid(Backbone):
    """Returns the coarsest map of a backbone for the image at each of several scales (OverFeat, section 3.3).

    Heads get one level per scale, finest first, like the levels of a feature pyramid. Strides are in pixels of the
    image at scale 1 and may be fractional.

    Args:
        backbone: any backbone; only its coarsest map is used.
        scales: factors of the size of the image.

    Raises:
        InputError: there is no scale, or one is not positive.
    """

    @takes_old_names
    def __init__(self, backbone: Backbone, scales: Sequence[float]) -> None:
        super().__init__()
        if not scales or min(scales) <= 0:
            raise InputError(f"scales must be one or more positive factors of the image's size, got {list(scales)}")
        self.trunk = backbone
        self.scales = sorted(scales, reverse=True)
        self.channels = [backbone.channels[-1]] * len(self.scales)
        strides: list[Any] = [backbone.strides[-1] / scale for scale in self.scales]  # fractions, in this class alone
        self.strides = strides

    def forward(self, images: Tensor) -> list[Tensor]:
        """The backbone's coarsest map of `images` ``(B, 3, H, W)`` at each scale, largest scale first."""
        return [self.trunk(_resized(images, scale))[-1] for scale in self.scales]


def _resized(images: Tensor, scale: float) -> Tensor:
    if scale == 1:
        return images
    # By the exact factor, so that coordinates scale exactly; rounding the size down loses a strip at the border.
    return F.interpolate(images, scale_factor=scale, mode="bilinear", align_corners=False, antialias=scale < 1)
