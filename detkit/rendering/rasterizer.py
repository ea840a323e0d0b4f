"""A rasterizer of triangle meshes: which face each pixel shows, at which depth, and where on it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.errors import InputError
from detkit.rendering.projected_faces import Floats, Integers, ProjectedFaces, owns_its_lines, project_faces
from detkit.structures import Meshes

NEAR = 1e-3
"""The least depth that is drawn unless another is given."""

_PAIRS_AT_ONCE = 1 << 20
_SLACK = 1e-6  # in pixels, as for bounds


@dataclass(frozen=True, eq=False)
class Fragments:
    """What the covered pixels of an image show.

    Args:
        size: height and width of the image.
        pixels: ``(P,)`` int64, ``y * width + x`` of each covered pixel, in ascending order.
        faces: ``(P,)`` int64, the row of the face in the meshes' packed faces.
        objects: ``(P,)`` int64, the number of the mesh.
        depth: ``(P,)`` float64, z at the pixel's center, in units of the meshes.
        barycentrics: ``(3, P)`` float64, of the face's corners; they add up to 1.
    """

    size: tuple[int, int]
    pixels: Integers
    faces: Integers
    objects: Integers
    depth: Floats
    barycentrics: Floats

    def depth_map(self) -> Tensor:
        """``(H, W)`` float32, z at each pixel's center, inf where nothing is."""
        return self._map(self.depth.astype(np.float32), np.inf)

    def object_map(self) -> Tensor:
        """``(H, W)`` int64, the number of the mesh at each pixel, -1 where nothing is."""
        return self._map(self.objects, -1)

    def face_map(self) -> Tensor:
        """``(H, W)`` int64, the packed face at each pixel, -1 where nothing is."""
        return self._map(self.faces, -1)

    def interpolated(self, values: Floats, faces: Integers) -> Floats:
        """Values ``(V, C)`` of the vertices at each covered pixel ``(C, P)``, in perspective; `faces` are all."""
        corners, columns = faces[self.faces].T, np.ascontiguousarray(values.T)
        return sum(columns[:, corner] * weight for corner, weight in zip(corners, self.barycentrics, strict=True))

    def _map(self, values: NDArray[np.generic], empty: float) -> Tensor:
        image = np.full(self.size[0] * self.size[1], empty, dtype=values.dtype)
        image[self.pixels] = values
        return torch.from_numpy(image.reshape(self.size))


def rasterize(meshes: Meshes, camera: Tensor, size: tuple[int, int], near: float = NEAR) -> Fragments:
    """The face that each pixel shows at its center, seen from either side, in float64 on the CPU.

    Neighboring faces leave no gap and do not overlap: a center on an edge belongs to the face that has it as its left
    or top edge. Of surfaces at one depth the first face is shown. What is nearer than `near` is cut away, in the
    middle of faces too.

    Args:
        meshes: in the camera frame: x right, y down, z away from the camera.
        camera: ``(3, 3)``, the intrinsic matrix in pixels.
        size: height and width of the image.
        near: the least depth z that is drawn, in units of the meshes.

    Raises:
        InputError: the camera is no intrinsic matrix, or `size` or `near` is not positive.
    """
    intrinsics = _checked(camera, size, near)
    vertices = meshes.vertices.detach().double().cpu().numpy()
    given = meshes.faces.cpu().numpy()
    projected = project_faces(vertices[given], intrinsics, size, near)
    depths, rows = np.full(size[0] * size[1], np.inf), np.full(size[0] * size[1], -1)
    for pixels, candidates, depth in _candidates(projected, size[1], near):
        _keep_nearest(depths, rows, pixels, candidates, depth)
    covered = np.flatnonzero(rows >= 0)
    shown = rows[covered]
    values = projected.values_at(shown, covered % size[1], covered // size[1])
    faces = projected.faces[shown]
    objects = meshes.topology.face_objects.cpu().numpy()[faces]
    return Fragments(size, covered, faces, objects, depths[covered], values / values.sum(axis=0))


def _candidates(projected: ProjectedFaces, width: int, near: float) -> Iterator[tuple[Integers, Integers, Floats]]:
    """Pixels whose centers are in a triangle, that triangle's row, and the depth there: in parts, in order of rows."""
    left, right, top, bottom = projected.bounds
    triangles, steps = _members(bottom - top + 1)
    lines = top[triangles] + steps
    a = projected.lines[:, 0, triangles]
    rest = projected.lines[:, 1, triangles] * (lines + 0.5) + projected.lines[:, 2, triangles]
    first, last = _span(a, rest, left[triangles], right[triangles])
    counts = np.maximum(last - first + 1, 0)
    tied = owns_its_lines(a, projected.lines[:, 1, triangles])
    ends = np.cumsum(counts)
    cuts = np.searchsorted(ends, np.arange(_PAIRS_AT_ONCE, ends[-1] if len(ends) else 0, _PAIRS_AT_ONCE))
    for start, end in zip([0, *cuts], [*cuts, len(counts)], strict=True):
        spans, offsets = _members(counts[start:end])
        spans += start
        x = first[spans] + offsets
        values = a[:, spans] * (x + 0.5) + rest[:, spans]
        inside = ((values > 0) | ((values == 0) & tied[:, spans])).all(axis=0)
        spans, sums = spans[inside], values[:, inside].sum(axis=0)
        with np.errstate(divide="ignore"):  # a face through the camera's center, seen at its vertex there
            depth = projected.volumes[triangles[spans]] / sums
        seen = (depth >= near) & np.isfinite(depth)
        spans = spans[seen]
        yield lines[spans] * width + x[inside][seen], triangles[spans], depth[seen]


def _span(a: Floats, rest: Floats, left: Integers, right: Integers) -> tuple[Integers, Integers]:
    """The first and last pixel of each row ``(S,)`` that may lie in its triangle, by the lines ``a u + rest >= 0``."""
    with np.errstate(divide="ignore", invalid="ignore"):
        crossings = -rest / a - 0.5
    low = np.where(a > 0, crossings, -np.inf).max(axis=0) - _SLACK
    high = np.where(a < 0, crossings, np.inf).min(axis=0) + _SLACK
    first = np.ceil(np.clip(low, left, right + 1)).astype(np.int64)
    last = np.floor(np.clip(high, left - 1, right)).astype(np.int64)
    return first, last


def _keep_nearest(depths: Floats, rows: Integers, pixels: Integers, candidates: Integers, depth: Floats) -> None:
    """Write candidates in ascending order into the buffers, where they are nearer than what is there."""
    before = depths[pixels]
    np.minimum.at(depths, pixels, depth)
    won = np.flatnonzero((depth < before) & (depth == depths[pixels]))[::-1]
    rows[pixels[won]] = candidates[won]  # of equal pixels the last is written: the first candidate


def _members(counts: Integers) -> tuple[Integers, Integers]:
    """Of groups with these sizes, the group of each member, and its number within."""
    groups = np.repeat(np.arange(len(counts)), counts)
    return groups, np.arange(len(groups)) - (np.cumsum(counts) - counts)[groups]


def _checked(camera: Tensor, size: tuple[int, int], near: float) -> Floats:
    """The camera in float64."""
    matrix: Floats = torch.as_tensor(camera).detach().double().cpu().numpy()
    if matrix.shape != (3, 3):
        raise InputError(f"rendering: the camera has the shape {matrix.shape}; give the intrinsic matrix, (3, 3)")
    wrong = not np.isfinite(matrix).all() or matrix[2].tolist() != [0, 0, 1]
    if wrong or matrix[0, 0] * matrix[1, 1] - matrix[0, 1] * matrix[1, 0] == 0:
        listed = [[round(value, 4) for value in row] for row in matrix.tolist()]
        raise InputError(f"rendering: the camera {listed} is no intrinsic matrix [[f, 0, cx], [0, f, cy], [0, 0, 1]]")
    if min(size) < 1:
        raise InputError(f"rendering: the image has the size {tuple(size)}; give height and width, at least 1")
    if not near > 0:
        raise InputError(f"rendering: near is {near}; give the least depth that is drawn, more than 0")
    return matrix
