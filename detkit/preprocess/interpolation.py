"""Bilinear resizing."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

from detkit.geometry import Size


def resize(image: Tensor, size: Size, antialias: bool = False) -> Tensor:
    """`image` ``(..., 3, H, W)`` resized bilinearly; one that has the `size` already is returned as it is."""
    if image.shape[-2:] == tuple(size):
        return image
    images = image if image.ndim == 4 else image[None]
    resized = F.interpolate(images, size=size, mode="bilinear", align_corners=False, antialias=antialias)
    return resized if image.ndim == 4 else resized[0]
