"""Midpoint subdivision of meshes: each triangle becomes four."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.structures.device_transfer import to_device
from detkit.structures.meshes.meshes import Meshes
from detkit.structures.meshes.object_rows import starts
from detkit.structures.meshes.topology import Topology


def subdivided(meshes: Meshes) -> Meshes:
    """Meshes with a new vertex in the middle of each edge, which the faces at it share, and four faces for each.

    The vertices of an object come first, then the middles of its edges. The four faces of one follow each other:
    those at its three corners, then that in its middle. Differentiable in the vertices.
    """
    topology = meshes.topology
    old, new = _new_rows(topology)
    a, b, c = old[meshes.faces].unbind(dim=1)
    opposite_a, opposite_b, opposite_c = new[topology.face_edges].unbind(dim=1)
    corners = [
        a, opposite_c, opposite_b,
        b, opposite_a, opposite_c,
        c, opposite_b, opposite_a,
        opposite_a, opposite_b, opposite_c,
    ]  # fmt: skip
    faces = torch.stack(corners, dim=1).view(-1, 3)
    counts = topology.vertex_counts + topology.edge_counts
    vertices = subdivided_values(meshes, meshes.vertices)
    return Meshes.of(vertices, Topology(faces, counts, topology.face_counts * 4))


def subdivided_values(meshes: Meshes, values: Tensor) -> Tensor:
    """`values` ``(V, C)`` of the vertices of `meshes`, for those of the subdivided ones: new vertices get the mean of
    their edge's ends."""
    middles = values[meshes.edges].mean(dim=1)
    together = torch.cat([values, middles])
    return torch.zeros_like(together).index_copy(0, torch.cat(_new_rows(meshes.topology)), together)


def _new_rows(topology: Topology) -> tuple[Tensor, Tensor]:
    """Where the vertices are after subdivision ``(V,)``, and the middles of the edges ``(E,)``."""
    device = topology.faces.device
    edge_starts = to_device(starts(topology.edge_counts), device)
    vertex_ends = to_device(topology.vertex_counts.cumsum(0), device)
    vertex_objects = topology.vertex_objects
    old = torch.arange(len(vertex_objects), device=device) + edge_starts[vertex_objects]
    new = torch.arange(len(topology.edges), device=device) + vertex_ends[topology.edge_objects]
    return old, new
