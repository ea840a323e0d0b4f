"""What all formats share: polygons and strips cut into triangles, and the checks of what is read and written."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from detkit.errors import InputError
from detkit.structures import Meshes

Floats = NDArray[np.floating[Any]]
Integers = NDArray[np.integer[Any]]


def triangle_fans(corners: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Polygons cut into triangles that share their first corner, right for convex ones.

    Args:
        corners: the vertices of all polygons, one polygon after the other.
        counts: the number of corners of each polygon, at least 3.

    Returns:
        ``(F, 3)`` the triangles, and ``(F,)`` the polygon of each.
    """
    polygons = np.repeat(np.arange(len(counts)), counts - 2)
    firsts = (np.cumsum(counts) - counts)[polygons]
    fans_before = (np.cumsum(counts - 2) - (counts - 2))[polygons]
    steps = np.arange(len(polygons)) - fans_before
    return np.stack([corners[firsts], corners[firsts + steps + 1], corners[firsts + steps + 2]], axis=1), polygons


def triangle_strips(corners: Integers, counts: Integers) -> tuple[Integers, Integers]:
    """Strips cut into triangles, every second one turned, so that all face the same way.

    Triangles that name a vertex twice are left out: they only join strips.

    Args:
        corners: the vertices of all strips, one strip after the other.
        counts: the number of vertices of each strip; fewer than 3 make no triangle.

    Returns:
        ``(F, 3)`` the triangles, and ``(F,)`` the strip of each.
    """
    lengths = np.maximum(counts - 2, 0)
    strips = np.repeat(np.arange(len(counts)), lengths)
    steps = np.arange(len(strips)) - (np.cumsum(lengths) - lengths)[strips]
    firsts = (np.cumsum(counts) - counts)[strips] + steps
    odd = steps % 2
    triangles = np.stack([corners[firsts], corners[firsts + 1 + odd], corners[firsts + 2 - odd]], axis=1)
    distinct = (triangles != np.roll(triangles, 1, axis=1)).all(axis=1)
    return triangles[distinct], strips[distinct]


def mesh_of_file(
    path: str | Path,
    vertices: Floats,
    faces: Integers,
    vertex_lines: Sequence[int] = (),
    face_lines: Sequence[int] = (),
) -> Meshes:
    """Meshes of the one object that a file holds, its vertices in float32.

    Args:
        path: of the file, for messages.
        vertices: ``(V, 3)``.
        faces: ``(F, 3)``, counted from 0.
        vertex_lines: the line of each vertex in a text file.
        face_lines: the line of each face in a text file.

    Raises:
        InputError: a coordinate is no finite float32, or a face names no vertex.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        points = np.ascontiguousarray(vertices, dtype=np.float32).reshape(-1, 3)
    triangles = np.ascontiguousarray(faces, dtype=np.int64).reshape(-1, 3)
    wrong = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(wrong):
        place = place_in(path, vertex_lines, int(wrong[0]))
        raise InputError(f"{place}: vertex {wrong[0]} has a coordinate that is no finite number; remove it")
    wrong = np.flatnonzero(((triangles < 0) | (triangles >= len(points))).any(axis=1))
    if len(wrong):
        place = place_in(path, face_lines, int(wrong[0]))
        named = triangles[wrong[0]].tolist()
        raise InputError(
            f"{place}: a face names the vertices {named}, counted from 0, and the file has {len(points)}; correct it"
        )
    return Meshes([torch.from_numpy(points)], [torch.from_numpy(triangles)])


def one_mesh(path: str | Path, meshes: Meshes) -> tuple[Floats, Integers]:
    """The vertices and faces of the one object that is to be written; see `written_vertices`.

    Raises:
        InputError: there are several objects, or none, or a coordinate is no finite number.
    """
    if len(meshes) != 1:
        raise InputError(
            f"{path}: a file holds one mesh, and these are {len(meshes)}; write them one by one, meshes[0]"
        )
    return written_vertices(path, meshes.vertices), meshes.faces.cpu().numpy()


def written_vertices(path: str | Path, vertices: Tensor) -> Floats:
    """``(V, 3)``, float64 where they were that, else float32.

    Raises:
        InputError: a coordinate is no finite number, which no reader takes.
    """
    points = vertices.detach().cpu()
    points = points if points.dtype == torch.float64 else points.float()
    wrong = (~points.isfinite().all(dim=1)).nonzero()
    if len(wrong):
        raise InputError(
            f"{path}: vertex {int(wrong[0])} has a coordinate that is NaN or infinite; remove it from the mesh"
        )
    values: Floats = points.numpy()
    return values


def place_in(path: str | Path, lines: Sequence[int], row: int) -> str:
    """The file, and the line of a row where it is known."""
    return f"{path}, line {lines[row]}" if len(lines) else str(path)
