"""Meshes as short text for a page: 16 bits for each coordinate and each corner of a face."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detkit.structures import Meshes
from detkit.visualization.colors import Color

MOST_FACES = 20_000
"""Of a scene on a page; larger ones are simplified."""
_LEVELS = 65535
_FINEST, _COARSEST = 1024, 8
"""Cells along the longest edge of a scene that is simplified."""


def compact_scene(meshes: Meshes, colors: Sequence[Color]) -> dict[str, Any]:
    """A scene as JSON.

    Args:
        meshes: of N objects, float, on the CPU.
        colors: of each.

    Returns:
        ``low`` and ``step``, with which a coordinate is ``low + step * level``; the levels of all vertices as
        ``vertices`` and the corners of all faces as ``faces``, both uint16, little-endian, in base64; the ``objects``,
        each with its ``color`` and the number of its ``faces``; and whether the scene is ``simplified``.
    """
    points, faces, owners, is_simplified = _within_limits(meshes)
    low = points.min(axis=0) if len(points) else np.zeros(3)
    extent = float((points.max(axis=0) - low).max()) if len(points) else 0.0
    step = extent / _LEVELS if extent > 0 else 1.0
    levels = np.rint((points - low) / step)
    counts = np.bincount(owners, minlength=len(colors))
    return {
        "low": low.tolist(),
        "step": step,
        "vertices": _encoded(levels),
        "faces": _encoded(faces),
        "objects": [
            {"color": list(color), "faces": count} for color, count in zip(colors, counts.tolist(), strict=True)
        ],
        "simplified": is_simplified,
    }


def _within_limits(meshes: Meshes) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], bool]:
    """The used vertices ``(V, 3)``, the faces ``(F, 3)``, the object of each face, and whether they are simplified."""
    points = meshes.vertices.detach().double().numpy()
    faces, owners = meshes.faces.numpy(), meshes.topology.face_objects.numpy()
    if len(faces) <= MOST_FACES:
        return *_used(points, faces), owners, False
    of_vertices = meshes.topology.vertex_objects.numpy()
    cells = _FINEST
    while True:
        merged = _clustered(points, faces, owners, of_vertices, cells)
        if len(merged[1]) <= MOST_FACES or cells <= _COARSEST:
            return *_used(merged[0], merged[1][:MOST_FACES]), merged[2][:MOST_FACES], True
        cells = cells * 3 // 4


def _clustered(
    points: NDArray[Any], faces: NDArray[Any], owners: NDArray[Any], of_vertices: NDArray[Any], cells: int
) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    """All vertices of an object in one cell of a grid become their mean (Rossignac and Borrel, "Multi-resolution 3D
    approximations for rendering complex scenes", 1993); faces that vanish or repeat are left out."""
    low = points.min(axis=0)
    size = max(float((points.max(axis=0) - low).max()), 1e-30) / cells
    keys = np.column_stack((of_vertices, np.floor((points - low) / size).astype(np.int64)))
    _, cluster, counts = np.unique(keys, axis=0, return_inverse=True, return_counts=True)
    cluster = cluster.reshape(-1)
    means = np.stack([np.bincount(cluster, points[:, axis]) for axis in range(3)], axis=1) / counts[:, None]
    merged = cluster[faces]
    is_whole = (merged != np.roll(merged, 1, axis=1)).all(axis=1)
    _, firsts = np.unique(np.sort(merged[is_whole], axis=1), axis=0, return_index=True)
    kept = np.flatnonzero(is_whole)[np.sort(firsts)]
    return means, merged[kept], owners[kept]


def _used(points: NDArray[Any], faces: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """The vertices that faces name, and the faces counted in them."""
    rows, numbers = np.unique(faces, return_inverse=True)
    return points[rows], numbers.reshape(-1, 3)


def _encoded(values: NDArray[Any]) -> str:
    return base64.b64encode(values.astype("<u2").tobytes()).decode("ascii")
