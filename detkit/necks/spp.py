"""Spatial pyramid pooling as YOLOv3-SPP and YOLOv4 use it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class SPP(nn.Module):
    """Concatenates a map with its max pooling over windows of several sizes.

    ``C`` channels become ``C (1 + len(sizes))``. Unlike He 2014, pooling has stride 1 and keeps the resolution (cfg of
    YOLOv3-SPP and YOLOv4).

    Args:
        sizes: sides of the windows in cells, odd.
    """

    def __init__(self, sizes: Sequence[int] = (5, 9, 13)) -> None:
        super().__init__()
        self.sizes = sorted(sizes, reverse=True)

    def forward(self, x: Tensor) -> Tensor:
        """The maxima of the largest window first, the map itself last."""
        pooled = [F.max_pool2d(x, size, stride=1, padding=size // 2) for size in self.sizes]
        return torch.cat([*pooled, x], dim=1)
