"""Images as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.geometry import Placement, Size


@dataclass(frozen=True)
class Batch:
    """Images as a network sees them.

    Args:
        images: ``(B, 3, H, W)`` float32, normalized, padded at the right and the bottom.
        placements: how each given image lies in its part of `images`; empty where nothing is known of given images.
    """

    images: Tensor
    placements: Sequence[Placement] = ()

    @property
    def padded_size(self) -> Size:
        """(height, width) of the whole batch."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def sizes(self) -> list[Size]:
        """(height, width) of each image in `images` without padding."""
        return [placement.size for placement in self.placements]

    @property
    def given_sizes(self) -> list[Size]:
        """(height, width) of each image as it was given."""
        return [placement.given_size for placement in self.placements]

    @property
    def padding(self) -> Tensor:
        """Which pixels belong to no image, bool ``(B, H, W)``."""
        height, width = self.padded_size
        padding = torch.ones(len(self.images), height, width, dtype=torch.bool)
        for row, (image_height, image_width) in enumerate(self.sizes):
            padding[row, :image_height, :image_width] = False
        return padding.to(self.images.device, non_blocking=True)
