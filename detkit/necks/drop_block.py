"""DropBlock: dropout of square blocks of a feature map (Ghiasi 2018)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class DropBlock(nn.Module):
    """In training, zeroes square blocks of a map in all channels at once, and scales up the rest (algorithm 1).

    Args:
        probability: expected fraction of dropped cells.
        size: side of the blocks in cells, odd; smaller for smaller maps.
    """

    def __init__(self, probability: float = 0.1, size: int = 7) -> None:
        super().__init__()
        self.probability, self.size = probability, size

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.probability == 0:
            return x
        height, width = x.shape[-2:]
        size = min(self.size, (height - 1) // 2 * 2 + 1, (width - 1) // 2 * 2 + 1)
        # Centers lie where the whole block fits, at a rate that drops the requested fraction of cells (equation 1).
        inner = (height - size + 1, width - size + 1)
        rate = self.probability / size**2 * (height * width) / (inner[0] * inner[1])
        centers = (torch.rand(x.shape[0], 1, *inner, device=x.device) < rate).to(x.dtype)
        kept = 1 - F.max_pool2d(F.pad(centers, [size // 2] * 4), size, stride=1, padding=size // 2)
        return x * kept * (kept.numel() / kept.sum().clamp(min=1))
