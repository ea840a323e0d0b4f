"""The nearest point of another cloud, without a matrix of all distances."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_floating, check_same_device, check_shape, geometry_dtype
from detkit.ops.library import NATIVE_DEVICES, is_native

BLOCK = 2**18
"""Distances that the reference holds at once: 1 MiB of float32, which stays in the cache."""


class NearestNeighbors(NamedTuple):
    """Of each query, the nearest point of the same object's cloud."""

    squared_distances: Tensor
    """``(N, P)``, differentiable in queries and points; infinite where the object has no point."""
    indices: Tensor
    """``(N, P)`` int64, rows of the object's points; -1 where it has none."""


def nearest_neighbors(queries: Tensor, points: Tensor, point_counts: Tensor) -> NearestNeighbors:
    """Find the nearest point of each query, without a matrix of all distances.

    The nearest is the one of least squared distance as computed in float32, or float64 if one of the clouds is: its
    true squared distance is at most 1e-6 of itself more than the least. Differentiable twice; the choice of the point
    is a constant.

    Args:
        queries: ``(N, P, 3)``, floating point. Rows of padding are answered like others.
        points: ``(N, Q, 3)``.
        point_counts: ``(N,)`` int64; the points of an object after its count are padding, and never the nearest.

    Returns:
        Squared distances, in at least float32, and indices; of equally near points any one. A point that is not finite
        is never the nearest. A query without any point at a finite distance gets row 0, so NaN stays NaN. Does not wait
        for the device.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    check_shape("queries", queries, ("N", "P", 3))
    check_shape("points", points, (len(queries), "Q", 3))
    check_shape("point_counts", point_counts, (len(queries),))
    check_floating("queries", queries)
    check_floating("points", points)
    check_same_device(queries=queries, points=points, point_counts=point_counts)
    if point_counts.dtype != torch.int64:
        raise InputError(f"point_counts must be int64, got {point_counts.dtype}")
    dtype = geometry_dtype(queries, points)
    queries, points = queries.to(dtype), points.to(dtype)
    if not points.shape[1]:
        distances = queries.sum(2) * 0 + float("inf")  # attached to the graph
        return NearestNeighbors(distances, torch.full_like(distances, -1, dtype=torch.int64))
    find = torch.ops.detkit.nearest_neighbors if is_native(queries.device) else nearest_neighbors_reference
    indices = find(queries.detach(), points.detach(), point_counts)
    nearest = points.gather(1, indices.clamp(min=0)[..., None].expand(-1, -1, 3))
    distances = (queries - nearest).square().sum(2)
    return NearestNeighbors(distances.where(indices >= 0, float("inf")), indices)


def nearest_neighbors_reference(queries: Tensor, points: Tensor, point_counts: Tensor, block: int = BLOCK) -> Tensor:
    """The indices of `nearest_neighbors` in plain torch, with `block` distances at once."""
    size = points.shape[1]
    is_point = torch.arange(size, device=points.device) < point_counts[:, None]
    columns = max(1, min(size, block // max(1, len(queries))))
    rows = max(1, block // (max(1, len(queries)) * columns))
    found = []
    for some in torch.split(queries, rows, dim=1):
        least = some.new_full(some.shape[:2], float("inf"))
        index = torch.zeros_like(least, dtype=torch.int64)
        for first in range(0, size, columns):
            part = slice(first, first + columns)
            distances = _squared_distances(some, points[:, part]).where(is_point[:, None, part], float("inf"))
            nearest, column = distances.nan_to_num(nan=float("inf"), posinf=float("inf")).min(dim=2)
            index = torch.where(nearest < least, column + first, index)
            least = torch.minimum(nearest, least)
        found.append(index)
    indices = torch.cat(found, dim=1) if found else point_counts.new_zeros(queries.shape[:2])
    return indices.where((point_counts > 0)[:, None], -1)


def _squared_distances(queries: Tensor, points: Tensor) -> Tensor:
    """Of all pairs, ``(N, P, Q)``, coordinate by coordinate, as the kernels round them.

    A matrix product would lose the digits of near points that lie far from the origin.
    """
    x, y, z = (
        (ours[:, :, None] - theirs[:, None]).square_()
        for ours, theirs in zip(queries.unbind(2), points.unbind(2), strict=True)
    )
    return x.add_(y).add_(z)


def _fake_nearest_neighbors(queries: Tensor, points: Tensor, point_counts: Tensor) -> Tensor:
    return queries.new_empty(queries.shape[:2], dtype=torch.int64)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::nearest_neighbors", _fake_nearest_neighbors)
