"""What is wrong with the vertices and faces of given meshes, in one sentence that names the object."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.structures.meshes.object_rows import first_row
from detkit.structures.meshes.topology import Topology


def check_lists(vertices: Sequence[Tensor], faces: Sequence[Tensor]) -> None:
    """Refuse lists whose tensors do not fit together; reads no values.

    Raises:
        InputError: the lists differ in length, or a tensor has another shape, dtype or device than it must have.
    """
    if len(vertices) != len(faces):
        raise InputError(f"meshes: {len(vertices)} tensors of vertices and {len(faces)} of faces; give one per object")
    for number, (points, triangles) in enumerate(zip(vertices, faces, strict=True)):
        if points.ndim != 2 or points.shape[1] != 3 or not points.is_floating_point():
            raise InputError(f"mesh {number}: vertices must be (V, 3) floats, not {_described(points)}")
        if triangles.ndim != 2 or triangles.shape[1] != 3 or triangles.dtype != torch.int64:
            raise InputError(f"mesh {number}: faces must be (F, 3) torch.int64, not {_described(triangles)}")
        if points.dtype != vertices[0].dtype or not points.device == triangles.device == vertices[0].device:
            raise InputError(
                f"mesh {number}: its vertices are {points.dtype} on {points.device} and its faces on "
                f"{triangles.device}, the vertices of mesh 0 are {vertices[0].dtype} on {vertices[0].device}; "
                "bring all to one dtype and device"
            )


def check_values(vertices: Tensor, topology: Topology, local_faces: Tensor) -> None:
    """Refuse vertices that are no numbers and faces that name no vertex; waits for the device once.

    Args:
        vertices: ``(V, 3)``, packed.
        topology: of the meshes.
        local_faces: ``(F, 3)``, the faces as they were given, counted in the vertices of their object.

    Raises:
        InputError: the message names the first such object and its vertex or face.
    """
    sizes = topology.vertex_counts.to(vertices.device)[topology.face_objects, None]
    wrong_vertices = ~vertices.isfinite().all(dim=1)
    wrong_faces = ((local_faces < 0) | (local_faces >= sizes)).any(dim=1)
    if not bool(wrong_vertices.any() | wrong_faces.any()):
        return
    if bool(wrong_vertices.any()):
        number, row = first_row(wrong_vertices, topology.vertex_counts)
        raise InputError(f"mesh {number}: vertex {row} has a coordinate that is NaN or infinite; remove it")
    number, row = first_row(wrong_faces, topology.face_counts)
    face = local_faces[wrong_faces][0].tolist()
    count = int(topology.vertex_counts[number])
    raise InputError(
        f"mesh {number}: face {row} names the vertices {face}, and the mesh has {count}; count them from 0 per object"
    )


def _described(value: Tensor) -> str:
    return f"{tuple(value.shape)} {value.dtype}"
