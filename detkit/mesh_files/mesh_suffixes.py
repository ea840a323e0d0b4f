"""The reader and writer of mesh files by their suffix."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from detkit.errors import InputError
from detkit.mesh_files.gltf import read_gltf, write_gltf
from detkit.mesh_files.obj import read_obj, write_obj
from detkit.mesh_files.ply import read_ply, write_ply
from detkit.structures import Meshes

_FORMATS: dict[str, tuple[Callable[[str | Path], Meshes], Callable[[str | Path, Meshes], None]]] = {
    ".obj": (read_obj, write_obj),
    ".ply": (read_ply, write_ply),
    ".gltf": (read_gltf, write_gltf),
    ".glb": (read_gltf, write_gltf),
}

MESH_SUFFIXES = tuple(_FORMATS)
"""The suffixes of mesh files, in lower case."""


def read_mesh(path: str | Path) -> Meshes:
    """The one mesh of a file, in the format that its suffix names; float32 vertices, on the CPU.

    A file of several objects gives them as one; `read_gltf_objects` keeps them apart.

    Raises:
        InputError: the suffix is not one of `MESH_SUFFIXES`, or the file cannot be read.
    """
    return _FORMATS[_suffix(path)][0](path)


def write_mesh(path: str | Path, meshes: Meshes) -> None:
    """Write one mesh as a file in the format that its suffix names; several, or none, as glTF and GLB only.

    Coordinates are written as given, in whatever frame.

    Raises:
        InputError: the suffix is not one of `MESH_SUFFIXES`, the format holds one mesh and there are several or none, a
            coordinate is no finite number, or the file cannot be written.
    """
    _FORMATS[_suffix(path)][1](path, meshes)


def _suffix(path: str | Path) -> str:
    suffix = Path(path).suffix.lower()
    if suffix not in _FORMATS:
        raise InputError(f"{path}: {suffix!r} is no suffix of mesh files; use one of {', '.join(MESH_SUFFIXES)}")
    return suffix
