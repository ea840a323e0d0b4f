"""The edges of triangles, each once."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from detkit.ops.checks import check_shape

_SHIFT = 2**32
"""More than there are vertices, so that an edge is one number, which is sorted faster than a pair."""


class FaceEdges(NamedTuple):
    """The edges of faces, and which ones each face has."""

    edges: Tensor
    """``(E, 2)`` int64, rows of vertices, the smaller first; ordered by it, then by the other."""
    face_edges: Tensor
    """``(F, 3)`` int64, rows of `edges`: the one opposite the face's first corner, its second, and its third."""


def edges_of_faces(faces: Tensor) -> FaceEdges:
    """The undirected edges of triangles, each once, and those of each triangle.

    Args:
        faces: rows of vertices ``(F, 3)`` int64; of several objects together, if they are packed.

    Returns:
        Edges and rows of them. A face that names a vertex twice has an edge from it to itself. Waits for the device.

    Raises:
        InputError: shape does not fit.
    """
    check_shape("faces", faces, ("F", 3))
    a, b, c = faces.unbind(dim=1)
    ends = torch.stack((b, c, c, a, a, b), dim=1).view(-1, 2)
    keys, rows = torch.unique(ends.amin(dim=1) * _SHIFT + ends.amax(dim=1), return_inverse=True)
    return FaceEdges(torch.stack([keys // _SHIFT, keys % _SHIFT], dim=1), rows.view(-1, 3))


def mesh_edges(faces: Tensor) -> Tensor:
    """The edges ``(E, 2)`` that `edges_of_faces` gives."""
    return edges_of_faces(faces).edges
