"""Areas and normals of triangles, differentiable, also where a triangle has no area."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.ops.checks import as_geometry
from detkit.ops.meshes.packing import corners_of


def face_vectors(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(F, 3)``, the cross product of each face's edges: twice its area long, by the right-hand rule.

    Like all of this module in at least float32.
    """
    first, second, third = corners_of(as_geometry(vertices), faces).unbind(dim=1)
    vectors: Tensor = torch.linalg.cross(second - first, third - first)
    return vectors


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(F,)``, in squared units of the vertices."""
    lengths: Tensor = torch.linalg.vector_norm(face_vectors(vertices, faces), dim=1)
    return lengths / 2


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(F, 3)`` unit vectors by the right-hand rule, however small the face; 0 where a face has no area."""
    return _unit(face_vectors(vertices, faces), _extents(vertices, faces))


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(V, 3)`` unit vectors, the mean of the faces' normals weighted by area; 0 at vertices without faces."""
    corners = faces.flatten()
    vectors = face_vectors(vertices, faces).repeat_interleave(3, dim=0)
    extents = _extents(vertices, faces).repeat_interleave(3)
    summed = torch.zeros_like(vertices, dtype=vectors.dtype).index_add(0, corners, vectors)
    return _unit(summed, extents.new_zeros(len(vertices)).index_add_(0, corners, extents))


def _extents(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(F,)``, the squared lengths of two sides of each face, which bound the rounding of its `face_vectors`."""
    first, second, third = as_geometry(vertices.detach())[faces].unbind(dim=1)
    return (second - first).square().sum(dim=1) + (third - first).square().sum(dim=1)


def _unit(vectors: Tensor, extents: Tensor) -> Tensor:
    """Vectors of length 1; 0, without gradient, for those that rounding cannot tell from 0."""
    limits = torch.finfo(vectors.dtype)
    flat = (vectors.detach().norm(dim=1) <= limits.eps * extents)[:, None]
    unit = torch.nn.functional.normalize(torch.where(flat, 1.0, vectors), dim=1, eps=limits.tiny)
    return torch.where(flat, 0.0, unit)
