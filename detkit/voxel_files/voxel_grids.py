"""`VoxelGrid`: a cube of cells, and where it lies among the coordinates of a model."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, eq=False)
class VoxelGrid:
    """Cells of equal size, of which some are occupied.

    Args:
        occupied: ``(X, Y, Z)`` bool.
        translate: x, y, z of the grid's corner before its first cell, in model coordinates.
        scale: the length of the grid along x, in model coordinates.
    """

    occupied: Tensor
    translate: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: float = 1.0

    def centers(self) -> Tensor:
        """``(P, 3)`` float32, the centers of the occupied cells in model coordinates, ascending in x, then y, then z.

        These are ``(index + 0.5) / X * scale + translate``, as of binvox.
        """
        indices = self.occupied.nonzero().double()
        corner = torch.tensor(self.translate, dtype=torch.float64, device=indices.device)
        return ((indices + 0.5) / self.occupied.shape[0] * self.scale + corner).float()
