"""Midpoint subdivision of meshes: each triangle becomes four."""

from __future__ import annotations

import torch

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
    device = meshes.faces.device
    edge_starts = to_device(starts(topology.edge_counts), device)
    vertex_ends = to_device(topology.vertex_counts.cumsum(0), device)
    old = torch.arange(len(meshes.vertices), device=device) + edge_starts[topology.vertex_objects]
    new = torch.arange(len(meshes.edges), device=device) + vertex_ends[topology.edge_objects]
    middles = meshes.vertices[meshes.edges].mean(dim=1)
    values = torch.cat([meshes.vertices, middles])
    vertices = torch.zeros_like(values).index_copy(0, torch.cat([old, new]), values)
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
    return Meshes.of(vertices, Topology(faces, counts, topology.face_counts * 4))
