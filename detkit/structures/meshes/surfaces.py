"""Areas and normals of triangles, differentiable, also where a triangle has no area."""

from __future__ import annotations

import torch
from torch import Tensor

_SMALLEST = 1e-6
"""PyTorch3D's: vectors shorter than this are divided by it, so that no area gives the normal 0."""


def face_vectors(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(F, 3)``, the cross product of each face's edges: twice its area long, by the right-hand rule."""
    first, second, third = vertices[faces].unbind(dim=1)
    vectors: Tensor = torch.linalg.cross(second - first, third - first)
    return vectors


def face_areas(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(F,)``, in squared units of the vertices."""
    lengths: Tensor = torch.linalg.vector_norm(face_vectors(vertices, faces), dim=1)
    return lengths / 2


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(F, 3)`` unit vectors, 0 where a face has no area."""
    return _unit(face_vectors(vertices, faces))


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:
    """``(V, 3)`` unit vectors, the mean of the faces' normals weighted by area; 0 at vertices without faces."""
    vectors = face_vectors(vertices, faces)
    summed = torch.zeros_like(vertices).index_add(0, faces.flatten(), vectors.repeat_interleave(3, dim=0))
    return _unit(summed)


def _unit(vectors: Tensor) -> Tensor:
    return torch.nn.functional.normalize(vectors, dim=1, eps=_SMALLEST)
