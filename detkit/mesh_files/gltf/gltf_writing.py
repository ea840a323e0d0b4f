"""Meshes as glTF and GLB files."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from detkit.files import json_text, write_whole
from detkit.mesh_files.gltf.gltf_container import packed_glb
from detkit.mesh_files.mesh_parts import Floats, Integers, written_vertices
from detkit.structures import Meshes

_UINT16, _UINT32, _FLOAT32 = 5123, 5125, 5126
_VERTICES, _INDICES = 34962, 34963
_POINTS, _TRIANGLES = 0, 4
_MOST_UINT16 = 65535
"""Vertices that uint16 can name; its largest value has another meaning."""


def write_gltf(path: str | Path, meshes: Meshes) -> None:
    """Write meshes as a glTF 2.0 file, binary where its suffix is ``.glb``, each object as a node of the scene.

    Coordinates are written as given, in float32. Viewers have y up: `camera_to_y_up` turns meshes of the camera frame.
    An object without faces becomes points, and one without vertices a node without a mesh.

    Raises:
        InputError: a coordinate is no finite float32, or the file cannot be written.
    """
    if Path(path).suffix.lower() == ".glb":
        write_whole(path, glb_content(meshes, path=path))
    else:
        document = _document(path, meshes, None, None)
        uri = "data:application/octet-stream;base64," + base64.b64encode(document.binary).decode()
        write_whole(path, json_text(document.values(uri)))


def glb_content(
    meshes: Meshes,
    names: Sequence[str] | None = None,
    colors: Sequence[tuple[int, int, int]] | None = None,
    path: str | Path = "a GLB file",
) -> bytes:
    """The content of a GLB file; see `write_gltf`.

    Args:
        meshes: of N objects.
        names: of each; None: they are numbered.
        colors: of each, red, green and blue in 0 to 255 as on a screen; None: that of the viewer.
        path: begins messages.

    Raises:
        InputError: a coordinate is no finite float32, or the content is longer than the format allows.
    """
    document = _document(path, meshes, names, colors)
    return packed_glb(path, document.values(None), bytes(document.binary))


def _document(
    path: str | Path,
    meshes: Meshes,
    names: Sequence[str] | None,
    colors: Sequence[tuple[int, int, int]] | None,
) -> _Document:
    points = written_vertices(path, meshes.vertices.to(torch.float32))
    document = _Document()
    vertices = np.split(points, np.cumsum(meshes.topology.vertex_counts.numpy())[:-1])
    for number, faces in enumerate(meshes.faces_list()):
        name = f"object {number}" if names is None else names[number]
        color = None if colors is None else colors[number]
        document.add_object(name, vertices[number], faces.cpu().numpy(), color)
    return document


class _Document:
    """The lists of a glTF document, and the bytes of its one buffer."""

    def __init__(self) -> None:
        self.binary = bytearray()
        self._lists: dict[str, list[dict[str, Any]]] = {
            key: [] for key in ("nodes", "meshes", "materials", "accessors", "bufferViews")
        }

    def add_object(
        self, name: str, vertices: Floats, faces: Integers, color: tuple[int, int, int] | None = None
    ) -> None:
        node: dict[str, Any] = {"name": name}
        if len(vertices):
            primitive = self._primitive(vertices, faces)
            if color is not None:
                primitive["material"] = self._add("materials", _material(name, color))
            node["mesh"] = self._add("meshes", {"name": name, "primitives": [primitive]})
        self._add("nodes", node)

    def values(self, uri: str | None) -> dict[str, Any]:
        """The document, its buffer at `uri`; None: in the GLB file. Lists without members are no part of it."""
        nodes = list(range(len(self._lists["nodes"])))
        buffer = {"byteLength": len(self.binary)} | ({"uri": uri} if uri is not None else {})
        lists = self._lists | {"buffers": [buffer] if self.binary else []}
        return {
            "asset": {"version": "2.0", "generator": "detkit"},
            "scene": 0,
            "scenes": [{"nodes": nodes} if nodes else {}],
            **{key: members for key, members in lists.items() if members},
        }

    def _primitive(self, vertices: Floats, faces: Integers) -> dict[str, Any]:
        bounds = {"min": vertices.min(axis=0).tolist(), "max": vertices.max(axis=0).tolist()}
        position = self._accessor(vertices.astype("<f4"), _FLOAT32, _VERTICES, "VEC3", bounds)
        primitive = {"attributes": {"POSITION": position}, "mode": _TRIANGLES if len(faces) else _POINTS}
        if len(faces):
            code, component = ("<u2", _UINT16) if len(vertices) <= _MOST_UINT16 else ("<u4", _UINT32)
            indices = faces.reshape(-1).astype(code)
            primitive["indices"] = self._accessor(indices, component, _INDICES, "SCALAR", {})
        return primitive

    def _accessor(
        self, rows: Floats | Integers, component: int, target: int, kind: str, bounds: dict[str, list[float]]
    ) -> int:
        self.binary += b"\0" * (-len(self.binary) % 4)
        view = {"buffer": 0, "byteOffset": len(self.binary), "byteLength": rows.nbytes, "target": target}
        self.binary += rows.tobytes()
        accessor = {"bufferView": self._add("bufferViews", view), "componentType": component, "count": len(rows)}
        return self._add("accessors", accessor | {"type": kind} | bounds)

    def _add(self, key: str, member: dict[str, Any]) -> int:
        """The number of a new member of a list."""
        self._lists[key].append(member)
        return len(self._lists[key]) - 1


def _material(name: str, color: tuple[int, int, int]) -> dict[str, Any]:
    """A matte surface. The format has linear colors (section 3.9.2), those of screens are in sRGB (IEC 61966-2-1)."""
    shares = [value / 255 for value in color]
    linear = [one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in shares]
    surface = {"baseColorFactor": [*linear, 1.0], "metallicFactor": 0.0, "roughnessFactor": 0.9}
    return {"name": name, "pbrMetallicRoughness": surface}
