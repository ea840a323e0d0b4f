"""glTF and GLB files as meshes."""

from __future__ import annotations

from pathlib import Path

from detkit.errors import InputError
from detkit.files import read_bytes
from detkit.mesh_files.gltf.gltf_buffers import GltfBuffers
from detkit.mesh_files.gltf.gltf_container import parse_container
from detkit.mesh_files.gltf.gltf_nodes import placed_meshes
from detkit.mesh_files.gltf.gltf_primitives import mesh_parts_of
from detkit.mesh_files.mesh_parts import Floats, Integers, mesh_of_file
from detkit.structures import Meshes


def read_gltf(path: str | Path) -> Meshes:
    """The one mesh of a glTF or GLB file, of all nodes of its scene; see `read_gltf_objects`.

    Raises:
        InputError: the file cannot be read, or its scene has no mesh.
    """
    objects = read_gltf_objects(path)
    if not len(objects):
        raise InputError(f"{path}: the scene of this glTF file has no mesh; export it with one")
    return Meshes([objects.vertices], [objects.faces])


def read_gltf_objects(path: str | Path) -> Meshes:
    """The meshes of a glTF or GLB file's scene, one object per node that has a mesh, in the frame of the scene.

    Normals, textures, skins, morph targets and animations are not read; of points and lines, only the vertices are.

    Raises:
        InputError: the file cannot be read, or requires an extension that is not read, such as Draco's compression.
    """
    content = read_bytes(path, "a glTF file")
    document, binary = parse_container(path, content)
    buffers = GltfBuffers(document, binary, len(content))
    parts: dict[int, tuple[Floats, Integers]] = {}
    objects = []
    for placed in placed_meshes(document):
        if placed.mesh not in parts:
            parts[placed.mesh] = mesh_parts_of(document, buffers, placed.mesh)
        objects.append(mesh_of_file(f"{path}, {placed.node}", *placed.moved(*parts[placed.mesh])))
    return Meshes.cat(objects)
