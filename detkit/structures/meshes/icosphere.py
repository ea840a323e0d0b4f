"""Spheres of triangles of almost one size, which meshes that are learned may start from."""

from __future__ import annotations

import torch

from detkit.errors import InputError
from detkit.structures.meshes.meshes import Meshes
from detkit.structures.meshes.subdivision import subdivided

_GOLDEN = (1 + 5**0.5) / 2
_CORNERS = [
    (-1, _GOLDEN, 0), (1, _GOLDEN, 0), (-1, -_GOLDEN, 0), (1, -_GOLDEN, 0), (0, -1, _GOLDEN), (0, 1, _GOLDEN),
    (0, -1, -_GOLDEN), (0, 1, -_GOLDEN), (_GOLDEN, 0, -1), (_GOLDEN, 0, 1), (-_GOLDEN, 0, -1), (-_GOLDEN, 0, 1),
]  # fmt: skip
_FACES = [
    (0, 11, 5), (0, 5, 1), (0, 1, 7), (0, 7, 10), (0, 10, 11),
    (1, 5, 9), (5, 11, 4), (11, 10, 2), (10, 7, 6), (7, 1, 8),
    (3, 9, 4), (3, 4, 2), (3, 2, 6), (3, 6, 8), (3, 8, 9),
    (4, 9, 5), (2, 4, 11), (6, 2, 10), (8, 6, 7), (9, 8, 1),
]  # fmt: skip


def icosphere(level: int = 0, device: torch.device | str = "cpu") -> Meshes:
    """One unit sphere: the icosahedron, subdivided `level` times, its new vertices moved onto the sphere.

    Args:
        level: from 0; the sphere has ``10 * 4**level + 2`` vertices, float32, and ``20 * 4**level`` faces.
        device: of its tensors.

    Raises:
        InputError: `level` is negative.
    """
    if level < 0:
        raise InputError(f"icosphere: the level is {level}; give the number of subdivisions, 0 or more")
    sphere = _projected(Meshes([torch.tensor(_CORNERS, dtype=torch.float64)], [torch.tensor(_FACES)]))
    for _ in range(level):
        sphere = _projected(subdivided(sphere))
    return sphere.to(device, torch.float32)


def _projected(meshes: Meshes) -> Meshes:
    return meshes.with_vertices(torch.nn.functional.normalize(meshes.vertices, dim=1))
