"""The layers that make voxels of maps, of regions and of whole images (Mesh R-CNN, Gkioxari et al. 2019, figure 2)."""

from __future__ import annotations

from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from detkit.heads.region.region_features import RegionBatchNorm2d


class VoxelLayers(nn.Module):
    """Convolutions, a deconvolution, and a channel for each layer of voxels: the base class of the voxel heads.

    Args:
        in_channels: channels of the maps.
        voxels: along the z axis; there are twice as many along the others as cells of the maps.
        channels: channels of the hidden layers.
        convolutions: 3x3 convolutions before the deconvolution.
        batch_norm: use batch norm after each of these.
    """

    def __init__(
        self, in_channels: int, voxels: int, channels: int, convolutions: int, batch_norm: bool = False
    ) -> None:
        super().__init__()
        widths = [in_channels] + [channels] * convolutions
        self.convolutions = nn.ModuleList(nn.Conv2d(before, after, 3, padding=1) for before, after in pairwise(widths))
        self.norms = nn.ModuleList(RegionBatchNorm2d(width) if batch_norm else nn.Identity() for width in widths[1:])
        self.deconvolution = nn.ConvTranspose2d(widths[-1], channels, kernel_size=2, stride=2)
        self.logits = nn.Conv2d(channels, voxels, 1)
        for layer in (*self.convolutions, self.deconvolution, self.logits):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)
        nn.init.normal_(self.logits.weight, std=0.001)

    def voxel_logits(self, maps: Tensor) -> Tensor:
        """Logits ``(B, D, H, W)`` of maps ``(B, C, H / 2, W / 2)``, near layers first."""
        hidden = maps
        for convolution, norm in zip(self.convolutions, self.norms, strict=True):
            hidden = F.relu(norm(convolution(hidden)))
        logits: Tensor = self.logits(F.relu(self.deconvolution(hidden)))
        return logits
