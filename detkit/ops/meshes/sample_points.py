"""Points drawn from the surfaces of meshes."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import as_geometry, check_floating, check_same_device, check_shape
from detkit.ops.meshes.packing import object_index
from detkit.ops.meshes.surfaces import face_areas, face_normals


class SurfacePoints(NamedTuple):
    """Points of N surfaces, as many of each; the rows of an object after its count are padding."""

    points: Tensor
    """``(N, S, 3)``."""
    normals: Tensor
    """``(N, S, 3)``, of length 1; 0 on faces without area."""
    counts: Tensor
    """``(N,)`` int64: how many of the S points are the object's."""


def sample_points(
    vertices: Tensor, faces: Tensor, face_counts: Tensor, number: int, generator: torch.Generator | None = None
) -> SurfacePoints:
    """Draw points uniformly by area, each with the normal of its face.

    Faces are drawn in proportion to their area, points on them by Osada et al., "Shape Distributions", 2002,
    equation 1. Does not wait for the device.

    Args:
        vertices: x y z ``(V, 3)``, floating point.
        faces: rows of `vertices` ``(F, 3)`` int64, those of an object after another's; counterclockwise seen from where
            their normals point.
        face_counts: faces of each object ``(N,)`` int64, which sum to F.
        number: points S of each object.
        generator: of the device of `vertices`; None: torch's own.

    Returns:
        Points and normals, differentiable in `vertices`. On an object whose faces are all without area, each face is
        drawn alike. An object without faces has `counts` 0, and zeros; others have S.

    Raises:
        InputError: shape, dtype or device does not fit, or `number` is negative; on the CPU, a face names no vertex, or
            the counts do not sum to F.
    """
    check_shape("vertices", vertices, ("V", 3))
    check_shape("faces", faces, ("F", 3))
    check_shape("face_counts", face_counts, ("N",))
    check_floating("vertices", vertices)
    check_same_device(vertices=vertices, faces=faces, face_counts=face_counts)
    if number < 0:
        raise InputError(f"number must be at least 0, got {number}")
    vertices = as_geometry(vertices)
    filled = face_counts > 0
    if not len(faces):
        nothing = vertices.new_zeros(len(face_counts), number, 3) + vertices.sum() * 0  # attached to the graph
        return SurfacePoints(nothing, nothing, torch.zeros_like(face_counts))
    drawn = _draw_faces(face_areas(vertices.detach().double(), faces), face_counts, number, generator)

    size = (len(face_counts), number, 1)
    first, second = torch.rand(2, *size, generator=generator, dtype=vertices.dtype, device=vertices.device)
    root = first.sqrt()  # the share of the way from a to the side of b and c
    a, b, c = vertices[faces[drawn]].unbind(2)
    points = (1 - root) * a + root * (1 - second) * b + root * second * c
    shown = filled[:, None, None]
    normals = face_normals(vertices, faces)[drawn]
    return SurfacePoints(points.where(shown, 0.0), normals.where(shown, 0.0), filled.long() * number)


def _draw_faces(areas: Tensor, counts: Tensor, number: int, generator: torch.Generator | None) -> Tensor:
    """Rows of `areas`, drawn in proportion to them among those of each object: ``(N, number)``."""
    ends = counts.cumsum(0)
    index = object_index(counts, len(areas))
    totals = areas.new_zeros(len(counts)).index_add_(0, index, areas)
    shares = torch.where(totals[index] > 0, areas / totals[index], 1.0 / counts[index])
    # Each object takes a length of about 1, so small ones lose no precision to large ones.
    cumulative = torch.cat([shares.new_zeros(1), shares.cumsum(0)])
    start, end = cumulative[ends - counts, None], cumulative[ends, None]
    uniform = torch.rand(len(counts), number, generator=generator, dtype=areas.dtype, device=areas.device)
    drawn = torch.minimum(start + uniform * (end - start), torch.nextafter(end, start))  # rounding may reach the end
    return torch.searchsorted(cumulative[1:], drawn, right=True).clamp(max=len(areas) - 1)
