"""Cropping regions from a feature pyramid."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from detkit.ops import multilevel_roi_align


class RegionAlign(nn.Module):
    """RoIAlign on the pyramid level that suits each region's size (Mask R-CNN, section 3; FPN, eq. 1).

    Args:
        resolution: height and width of a crop in cells.
        sampling_ratio: bilinear samples per cell and axis; 0 takes as many as the region has pixels.
        aligned: shift by half a pixel, so that the crop of a region is where the region is. Weights published by
            torchvision were trained without.
        canonical_size: side in pixels of a region that belongs on level 4 (stride 16): 224 as in ImageNet training,
            14 cells of that level.
    """

    def __init__(
        self, resolution: int = 7, sampling_ratio: int = 2, aligned: bool = True, canonical_size: int = 224
    ) -> None:
        super().__init__()
        self.resolution = resolution
        self.sampling_ratio = sampling_ratio
        self.aligned = aligned
        self.canonical_size = canonical_size

    def forward(
        self,
        features: Sequence[Tensor],
        strides: Sequence[int],
        regions: Sequence[Tensor],
        resolution: int | None = None,
    ) -> Tensor:
        """Crops ``(R, C, resolution, resolution)`` of the `regions` ``(Ri, 4)`` of each image, in turn.

        Args:
            features: maps ``(B, C, Hi, Wi)``, finest first.
            strides: of the maps.
            regions: in pixels of the network's input.
            resolution: instead of the pool's own.
        """
        rois = torch.cat(
            [torch.cat((boxes.new_full((len(boxes), 1), image), boxes), dim=1) for image, boxes in enumerate(regions)]
        )
        return multilevel_roi_align(
            list(features),
            rois,
            resolution or self.resolution,
            [1 / stride for stride in strides],
            self.sampling_ratio,
            aligned=self.aligned,
            canonical_size=self.canonical_size,
        )
