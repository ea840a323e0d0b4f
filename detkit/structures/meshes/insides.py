"""Which meshes have an inside, so that `detkit.ops.meshes.voxelize` can fill them."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.structures.device_transfer import to_device
from detkit.structures.meshes.meshes import Meshes


def have_inside(meshes: Meshes) -> Tensor:
    """``(M,)`` bool: at each edge, as many faces pass in one direction as in the other; False without faces.

    Unlike `Meshes.is_closed`, vertices at one point count as one, as in files whose vertices differ in normals or
    textures; four faces may meet at an edge; and faces must be turned alike.
    """
    objects = meshes.topology.vertex_objects
    corners = torch.column_stack((objects.double(), meshes.vertices.double()))
    points, merged = torch.unique(corners, dim=0, return_inverse=True)
    faces = merged[meshes.faces]
    start, end = faces.flatten(), faces.roll(-1, dims=1).flatten()
    keys = torch.minimum(start, end) * len(points) + torch.maximum(start, end)
    edges, index = torch.unique(keys, return_inverse=True)
    balance = torch.zeros_like(edges).index_add_(0, index, (end - start).sign())
    open_edges = torch.zeros(len(meshes), dtype=torch.int64, device=objects.device)
    open_edges.index_add_(0, meshes.topology.face_objects.repeat_interleave(3), balance.abs()[index])
    return (open_edges == 0) & to_device(meshes.topology.face_counts > 0, objects.device)
