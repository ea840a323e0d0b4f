"""Meshes of occupied voxels."""

from __future__ import annotations

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import as_geometry, check_floating, check_shape, geometry_dtype

CORNERS = ((0, 0, 0), (0, 0, 1), (0, 1, 0), (0, 1, 1), (1, 0, 0), (1, 0, 1), (1, 1, 0), (1, 1, 1))
"""Corners of a cube, (x, y, z) each."""

SIDES = (
    ((-1, 0, 0), (2, 0, 1, 3)),
    ((0, 1, 0), (6, 2, 3, 7)),
    ((0, 0, -1), (0, 2, 6, 4)),
    ((0, -1, 0), (0, 4, 5, 1)),
    ((1, 0, 0), (5, 4, 6, 7)),
    ((0, 0, 1), (1, 5, 7, 3)),
)
"""Sides of a cube: the outward normal, and the corners counterclockwise from outside, from an end of the diagonal."""


class PackedMeshes(NamedTuple):
    """The meshes of N objects, one after the other."""

    vertices: Tensor
    """``(V, 3)``, x y z."""
    faces: Tensor
    """``(F, 3)`` int64, rows of `vertices`, counterclockwise seen from outside."""
    vertex_counts: Tensor
    """``(N,)`` int64."""
    face_counts: Tensor
    """``(N,)`` int64."""


@torch.no_grad()
def cubify(voxels: Tensor, threshold: float) -> PackedMeshes:
    """Turn each occupied voxel into a cube, merge equal vertices, and leave out the sides between occupied voxels.

    Gkioxari et al., "Mesh R-CNN", 2019, section 3.2. Axes, triangulation and order of faces are PyTorch3D's: x goes
    along W, y along H, z along D, and voxel ``i`` of W spans ``2 i / (W - 1) - 1`` to ``2 (i + 1) / (W - 1) - 1``
    (its alignment "topleft"), so -1 is where the first voxel starts and 1 where the last one starts.

    Args:
        voxels: probabilities of occupancy ``(N, D, H, W)``, floating point; D, H and W are at least 2.
        threshold: voxels of at least this probability are occupied.

    Returns:
        Closed surfaces, without gradient, in the dtype of `voxels` (half precision: float32). An object without
        occupied voxels has no vertex and no face. Where occupied voxels touch only along an edge or in a corner, they
        share its vertices.

    Raises:
        InputError: shape or dtype does not fit.
    """
    check_shape("voxels", voxels, ("N", "D", "H", "W"))
    check_floating("voxels", voxels)
    number, depth, height, width = voxels.shape
    if min(depth, height, width) < 2:
        raise InputError(f"voxels must be at least 2 along D, H and W, got {tuple(voxels.shape)}")
    device = voxels.device
    item, row, column, layer, side = _exposed_sides(as_geometry(voxels) >= threshold).nonzero().unbind(1)
    corners = torch.tensor(CORNERS, device=device)[torch.tensor([quad for _, quad in SIDES], device=device)[side]]
    x, y, z = (corners + torch.stack([column, row, layer], dim=1)[:, None]).unbind(-1)  # (number of sides, 4) each
    grid_index = ((item[:, None] * (height + 1) + y) * (width + 1) + x) * (depth + 1) + z
    used, quads = torch.unique(grid_index, return_inverse=True)

    columns, z = used.div(depth + 1, rounding_mode="floor"), used % (depth + 1)
    rows, x = columns.div(width + 1, rounding_mode="floor"), columns % (width + 1)
    dtype = geometry_dtype(voxels)
    vertices = torch.stack([x, rows % (height + 1), z], dim=1).to(dtype)
    vertices = vertices * 2 / torch.tensor([width - 1, height - 1, depth - 1], dtype=dtype, device=device) - 1
    vertex_item = rows.div(height + 1, rounding_mode="floor")
    a, b, c, d = quads.unbind(1)
    return PackedMeshes(
        vertices,
        torch.stack([a, b, c, a, c, d], dim=1).view(-1, 3),
        _count(vertex_item, number),
        _count(item, number) * 2,
    )


def _exposed_sides(occupied: Tensor) -> Tensor:
    """Which `SIDES` of occupied voxels ``(N, D, H, W)`` face an empty one, or the outside: ``(N, H, W, D, 6)``."""
    _, depth, height, width = occupied.shape
    padded = F.pad(occupied, (1, 1, 1, 1, 1, 1))
    exposed = [
        occupied & ~padded[:, 1 + z : 1 + z + depth, 1 + y : 1 + y + height, 1 + x : 1 + x + width]
        for (x, y, z), _ in SIDES
    ]
    return torch.stack(exposed, dim=-1).permute(0, 2, 3, 1, 4)


def _count(item: Tensor, number: int) -> Tensor:
    """How often each of 0 to `number` - 1 occurs."""
    return torch.zeros(number, dtype=torch.int64, device=item.device).index_add_(0, item, torch.ones_like(item))
