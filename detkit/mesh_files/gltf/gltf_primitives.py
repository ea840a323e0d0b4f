"""The primitives of a glTF mesh as vertices and triangles."""

from __future__ import annotations

import numpy as np

from detkit.errors import InputError
from detkit.mesh_files.gltf.gltf_accessors import indices_of, positions_of
from detkit.mesh_files.gltf.gltf_buffers import GltfBuffers
from detkit.mesh_files.gltf.gltf_container import COMPRESSIONS, compressed
from detkit.mesh_files.gltf.gltf_entries import Entry
from detkit.mesh_files.mesh_parts import Floats, Integers, triangle_fans, triangle_strips

_TRIANGLES, _STRIP, _FAN = 4, 5, 6


def mesh_parts_of(document: Entry, buffers: GltfBuffers, index: int) -> tuple[Floats, Integers]:
    """``(V, 3)`` vertices and ``(F, 3)`` faces of all primitives of a mesh; those of one accessor share its vertices.

    Of points and lines, only the vertices are read.

    Raises:
        InputError: a primitive cannot be read.
    """
    mesh = document.member("meshes", index)
    vertices: list[Floats] = [np.zeros((0, 3))]
    faces: list[Integers] = [np.zeros((0, 3), dtype=np.int64)]
    spans: dict[int, tuple[int, int]] = {}
    total = 0
    for primitive in mesh.members("primitives"):
        attributes = primitive.entry("attributes")
        if attributes is None:
            raise primitive.wrong("attributes", "an object with POSITION")
        accessor = attributes.whole("POSITION")
        if "bufferView" not in document.member("accessors", accessor).values:
            _check_not_compressed(primitive)
        if accessor not in spans:
            vertices.append(positions_of(document, buffers, accessor))
            spans[accessor] = (total, len(vertices[-1]))
            total += len(vertices[-1])
        shift, count = spans[accessor]
        faces.append(_triangles(document, buffers, primitive, count) + shift)
    return np.concatenate(vertices), np.concatenate(faces)


def _check_not_compressed(primitive: Entry) -> None:
    """Vertices without data of their own are all zero, or compressed by an extension."""
    extensions = primitive.entry("extensions")
    for name in extensions.values if extensions else ():
        if name in COMPRESSIONS:
            raise compressed(primitive.path, name)


def _triangles(document: Entry, buffers: GltfBuffers, primitive: Entry, count: int) -> Integers:
    """``(F, 3)`` faces of a primitive, counted in its own vertices."""
    mode = primitive.whole("mode", _TRIANGLES)
    if mode > _FAN:
        raise primitive.wrong("mode", "0 to 6")
    if "indices" in primitive.values:
        corners = indices_of(document, buffers, primitive.whole("indices"))
    else:
        corners = np.arange(count)
    if len(corners) and corners.max() >= count:
        raise InputError(
            f"{primitive.path}: {primitive.name} names vertex {corners.max()}, counted from 0, and has {count}; "
            "export the file again"
        )
    if mode < _TRIANGLES:
        return np.zeros((0, 3), dtype=np.int64)
    if len(corners) < 3 or (mode == _TRIANGLES and len(corners) % 3):
        raise InputError(
            f"{primitive.path}: {primitive.name} has {len(corners)} corners, which make no triangles; "
            "export the file again"
        )
    lengths = np.array([len(corners)])
    if mode == _STRIP:
        return triangle_strips(corners, lengths)[0]
    return triangle_fans(corners, lengths)[0] if mode == _FAN else corners.reshape(-1, 3)
