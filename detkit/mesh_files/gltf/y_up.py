"""The frame of glTF's viewers, y up."""

from __future__ import annotations

from detkit.structures import Meshes


def camera_to_y_up(meshes: Meshes) -> Meshes:
    """Meshes of the camera frame (x right, y down, z away) in glTF's frame (x right, y up, z toward the viewer).

    This is the rotation by 180 degrees about x, so faces keep their order; applied twice, it gives the meshes back.
    """
    return meshes.with_vertices(meshes.vertices * meshes.vertices.new_tensor([1, -1, -1]))
