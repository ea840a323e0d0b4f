"""How far a predicted mesh is from the true surface, and how regular it is."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.ops.checks import as_geometry, check_floating, check_same_device, check_shape
from detkit.ops.meshes.nearest_neighbors import nearest_neighbors
from detkit.ops.meshes.sample_points import SurfacePoints


def chamfer_and_normal_losses(predicted: SurfacePoints, true: SurfacePoints) -> tuple[Tensor, Tensor]:
    """Chamfer distance of the points, and the disagreement of their normals.

    Gkioxari et al., "Mesh R-CNN", 2019, section 3.2: each point is compared with its nearest point of the other
    surface, by squared distance and by ``1 - |cosine|`` of the normals. Each is a mean over the points of an object,
    summed over both directions, then a mean over the N objects.

    Args:
        predicted: points of N surfaces, such as `sample_points` gives.
        true: likewise, of the same N objects; their number S may differ.

    Returns:
        Both losses, scalars in at least float32. An object without points on one side adds 0 to both. Without objects
        both are 0.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    for name, surface in (("predicted", predicted), ("true", true)):
        check_shape(f"{name}.normals", surface.normals, tuple(surface.points.shape))
        check_shape(f"{name}.counts", surface.counts, (len(surface.points),))
    both = (predicted.counts > 0) & (true.counts > 0)
    forth, forth_normals = _one_way(predicted, true, both)
    back, back_normals = _one_way(true, predicted, both)
    return forth + back, forth_normals + back_normals


def edge_length_loss(vertices: Tensor, edges: Tensor, vertex_counts: Tensor) -> Tensor:
    """Mean squared length of the edges of an object, and the mean of these over the N objects.

    Gkioxari et al., "Mesh R-CNN", 2019, section 3.2.

    Args:
        vertices: x y z ``(V, 3)``, floating point.
        edges: rows of `vertices` ``(E, 2)`` int64, such as `mesh_edges` gives.
        vertex_counts: ``(N,)`` int64, which sum to V.

    Returns:
        A scalar in at least float32. An object without edges adds 0. Without objects it is 0.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    check_shape("vertices", vertices, ("V", 3))
    check_shape("edges", edges, ("E", 2))
    check_shape("vertex_counts", vertex_counts, ("N",))
    check_floating("vertices", vertices)
    check_same_device(vertices=vertices, edges=edges, vertex_counts=vertex_counts)
    start, end = as_geometry(vertices)[edges].unbind(1)
    squared = (start - end).square().sum(1)
    object_index = torch.searchsorted(vertex_counts.cumsum(0), edges[:, 0].contiguous(), right=True)
    numbers = squared.new_zeros(len(vertex_counts)).index_add(0, object_index, torch.ones_like(squared))
    return (squared / numbers[object_index]).sum() / max(1, len(vertex_counts))


def _one_way(queries: SurfacePoints, others: SurfacePoints, both: Tensor) -> tuple[Tensor, Tensor]:
    """The two losses from `queries` to `others`, of the objects where `both` have points."""
    nearest = nearest_neighbors(queries.points, others.points, others.counts)
    rows = torch.arange(queries.points.shape[1], device=both.device)
    valid = both[:, None] & (rows < queries.counts[:, None])
    # A point of weight 0 has a finite value too, or its gradient would be NaN.
    distances = nearest.squared_distances.where(valid, 0.0)
    weights = valid.to(distances.dtype) / (queries.counts.clamp(min=1)[:, None] * max(1, len(both)))
    if not others.normals.shape[1]:
        return (distances * weights).sum(), (queries.normals * 0.0).sum()
    normals = as_geometry(others.normals).gather(1, nearest.indices.clamp(min=0)[..., None].expand(-1, -1, 3))
    cosines = (as_geometry(queries.normals) * normals).sum(2)
    return (distances * weights).sum(), ((1 - cosines.abs()).where(valid, 0.0) * weights).sum()
