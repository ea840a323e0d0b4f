"""The nearest point of another cloud, in blocks of memory."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from detkit.ops.checks import check_floating, check_same_device, check_shape, geometry_dtype

BLOCK = 2**22
"""Distances held at once: 16 MiB of float32."""


class NearestNeighbors(NamedTuple):
    """Of each query, the nearest point of the same object's cloud."""

    squared_distances: Tensor
    """``(N, P)``, differentiable in queries and points; infinite where the object has no point."""
    indices: Tensor
    """``(N, P)`` int64, rows of the object's points; -1 where it has none."""


def nearest_neighbors(queries: Tensor, points: Tensor, point_counts: Tensor, block: int = BLOCK) -> NearestNeighbors:
    """Find the nearest point of each query, without a matrix of all distances.

    Args:
        queries: ``(N, P, 3)``, floating point. Rows of padding are answered like others.
        points: ``(N, Q, 3)``.
        point_counts: ``(N,)`` int64; the points of an object after its count are padding, and never the nearest.
        block: distances held at once; a smaller number needs less memory and more time.

    Returns:
        Squared distances, in at least float32, and indices; of equally near points any one. Does not wait for the
        device.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    check_shape("queries", queries, ("N", "P", 3))
    check_shape("points", points, (len(queries), "Q", 3))
    check_shape("point_counts", point_counts, (len(queries),))
    check_floating("queries", queries)
    check_floating("points", points)
    check_same_device(queries=queries, points=points, point_counts=point_counts)
    dtype = geometry_dtype(queries, points)
    queries, points = queries.to(dtype), points.to(dtype)
    if not points.shape[1]:
        distances = queries.sum(2) * 0 + float("inf")  # attached to the graph
        return NearestNeighbors(distances, torch.full_like(distances, -1, dtype=torch.int64))
    indices = _nearest(queries.detach(), points.detach(), point_counts, block)
    nearest = points.gather(1, indices[..., None].expand(-1, -1, 3))
    has_points = (point_counts > 0)[:, None]
    distances = (queries - nearest).square().sum(2)
    return NearestNeighbors(distances.where(has_points, float("inf")), indices.where(has_points, -1))


def _nearest(queries: Tensor, points: Tensor, point_counts: Tensor, block: int) -> Tensor:
    """Rows of the nearest points ``(N, P)``; 0 for objects without points."""
    size = points.shape[1]
    is_padding = torch.arange(size, device=points.device) >= point_counts[:, None]
    points = points.masked_fill(is_padding[..., None], float("inf"))
    columns = max(1, min(size, block // max(1, len(queries))))
    rows = max(1, block // (max(1, len(queries)) * columns))
    found = []
    for some in torch.split(queries, rows, dim=1):
        least = some.new_full(some.shape[:2], float("inf"))
        index = torch.zeros_like(least, dtype=torch.int64)
        for first in range(0, size, columns):
            # By differences: the matrix product loses the digits of near points that lie far from the origin.
            distances = torch.cdist(
                some, points[:, first : first + columns], compute_mode="donot_use_mm_for_euclid_dist"
            )
            nearest, place = distances.min(dim=2)
            index = torch.where(nearest < least, place + first, index)
            least = torch.minimum(nearest, least)
        found.append(index)
    return torch.cat(found, dim=1) if found else queries.new_zeros(queries.shape[:2], dtype=torch.int64)
