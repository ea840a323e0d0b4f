"""Wavefront OBJ: vertices and polygons as text."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from detkit.errors import InputError
from detkit.files import read_bytes, write_whole
from detkit.files.json_values import shown
from detkit.files.text_documents import numbers_in
from detkit.mesh_files.mesh_parts import Floats, Integers, mesh_of_file, one_mesh, triangle_fans, written_vertices
from detkit.structures import Meshes

_WITHOUT_SHAPE = {
    "vt", "vn", "vp", "g", "o", "s", "mg", "l", "p", "usemtl", "mtllib", "usemap", "maplib", "lod", "bevel", "c_interp",
    "d_interp", "shadow_obj", "trace_obj",
}  # fmt: skip
"""Texture, normals, names, materials, lines and points, which are no part of the triangles."""

_LARGEST = 2**62
"""The largest number of a vertex that arrays hold, far beyond those of any file."""


def read_obj(path: str | Path) -> Meshes:
    """The one mesh of an OBJ file, of all its objects and groups; polygons are cut into fans.

    Texture coordinates, normals, materials, lines and points are not read.

    Raises:
        InputError: the file cannot be read; the message names the line.
    """
    vertices: list[list[float]] = []
    vertex_lines: list[int] = []
    corners: list[int] = []
    counts: list[int] = []
    polygon_lines: list[int] = []
    for line, keyword, values in _statements(read_bytes(path, "an OBJ file").decode("utf-8", errors="replace")):
        if keyword == "v":
            vertices.append(_vertex(path, line, values))
            vertex_lines.append(line)
        elif keyword in ("f", "fo"):
            polygon = _polygon(path, line, values.split(), len(vertices))
            corners += polygon
            counts.append(len(polygon))
            polygon_lines.append(line)
        elif keyword not in _WITHOUT_SHAPE:
            raise InputError(
                f"{path}, line {line}: {keyword[:40]!r} is no statement of OBJ files with polygons; remove it"
            )
    if not vertices and not counts:
        raise InputError(f"{path}: this OBJ file has no vertices; give one with lines such as 'v 0 0 1'")
    faces, polygons = triangle_fans(np.array(corners, dtype=np.int64), np.array(counts, dtype=np.int64))
    face_lines = np.array(polygon_lines, dtype=np.int64)[polygons].tolist()
    return mesh_of_file(path, np.array(vertices, dtype=np.float64), faces, vertex_lines, face_lines)


def write_obj(path: str | Path, meshes: Meshes) -> None:
    """Write one mesh as an OBJ file, its coordinates with all digits of their dtype.

    Raises:
        InputError: there are several meshes or none, or the file cannot be written.
    """
    write_whole(path, obj_text(meshes, path))


def obj_text(meshes: Meshes, path: str | Path = "an OBJ file") -> str:
    """The content of an OBJ file with one mesh; see `write_obj`. `path` begins messages."""
    return "".join(f"{line}\n" for line in _lines(*one_mesh(path, meshes)))


def named_obj_text(meshes: Meshes, names: Sequence[str], path: str | Path = "an OBJ file") -> str:
    """The content of an OBJ file with several meshes, each an object named by letters, digits, ``_.-``.

    Raises:
        InputError: a coordinate is no finite number.
    """
    vertices = written_vertices(path, meshes.vertices)
    points = np.split(vertices, np.cumsum(meshes.topology.vertex_counts.numpy())[:-1])
    triangles = np.split(meshes.faces.cpu().numpy(), np.cumsum(meshes.topology.face_counts.numpy())[:-1])
    lines = [f"# {len(names)} objects"]
    for name, own, faces in zip(names, points, triangles, strict=False):
        lines += ["o " + re.sub(r"[^\w.-]+", "_", name), *_lines(own, faces)]
    return "".join(f"{line}\n" for line in lines)


def _lines(vertices: Floats, faces: Integers) -> list[str]:
    """Those of vertices and faces, which count from 0."""
    digits = 9 if vertices.dtype == np.float32 else 17
    lines = [f"v {x:.{digits}g} {y:.{digits}g} {z:.{digits}g}" for x, y, z in vertices.tolist()]
    return lines + [f"f {a} {b} {c}" for a, b, c in (faces + 1).tolist()]


def _statements(text: str) -> Iterator[tuple[int, str, str]]:
    """The number of each statement's first line, its keyword, and what follows it."""
    begun, first = "", 0
    for number, raw in enumerate([*text.replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""], start=1):
        line = raw.split("#", 1)[0].strip()
        first = first if begun else number
        if line.endswith("\\"):
            begun += line[:-1] + " "
            continue
        words = (begun + line).split(None, 1)
        begun = ""
        if words:
            yield first, words[0], words[1] if len(words) > 1 else ""


def _vertex(path: str | Path, line: int, values: str) -> list[float]:
    """The coordinates; a weight or a color may follow them."""
    numbers = numbers_in(values)
    if numbers is None or len(numbers) not in (3, 4, 6, 7):
        raise InputError(f"{path}, line {line}: a vertex has three numbers, such as 'v 0 0 1', not {values[:40]!r}")
    return numbers[:3]


def _polygon(path: str | Path, line: int, words: list[str], count: int) -> list[int]:
    """The vertices of a face, from 0; negative numbers count back from the vertex read last."""
    try:
        numbers = [int(word.split("/", 1)[0]) for word in words]
    except ValueError:
        numbers = []
    if len(numbers) < 3:
        described = " ".join(words)[:40]
        raise InputError(
            f"{path}, line {line}: a face has three or more vertex numbers, such as 'f 1 2 3', not {described!r}"
        )
    wrong = [number for number in numbers if number == 0 or not -count <= number <= _LARGEST]
    if wrong:
        raise InputError(
            f"{path}, line {line}: a face names vertex {shown(wrong[0])}; vertices count from 1, or back from -1 to "
            f"-{count} here"
        )
    return [number - 1 if number > 0 else number + count for number in numbers]
