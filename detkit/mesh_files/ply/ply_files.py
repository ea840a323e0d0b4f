"""PLY files as meshes: the elements of vertices, faces and strips."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detkit.errors import InputError
from detkit.files import read_bytes, write_whole
from detkit.mesh_files.mesh_parts import Integers, mesh_of_file, one_mesh, place_in, triangle_fans, triangle_strips
from detkit.mesh_files.ply.ply_binary import BinaryRows
from detkit.mesh_files.ply.ply_columns import Column
from detkit.mesh_files.ply.ply_headers import Element, read_header
from detkit.mesh_files.ply.ply_text import TextRows
from detkit.structures import Meshes

_CORNERS = ("vertex_indices", "vertex_index")
"""Both names of the list of a face's vertices are in use."""


def read_ply(path: str | Path) -> Meshes:
    """The one mesh of a PLY file, text or binary; polygons are cut into fans, strips into triangles.

    Other elements and properties, such as colors and normals, are not read.

    Raises:
        InputError: the file cannot be read; the message names the line of a text file.
    """
    content = read_bytes(path, "a PLY file")
    header = read_header(path, content)
    rows = (BinaryRows if header.byte_order else TextRows)(path, content, header)
    named = [element.name for element in header.elements]
    twice = [name for name in ("vertex", "face", "tristrips") if named.count(name) > 1]
    if twice or "vertex" not in named:
        wrong = f"two elements {twice[0]!r}" if twice else "no element 'vertex'"
        raise InputError(f"{path}: the header of this PLY file has {wrong}; export it with one")
    vertices, vertex_lines = np.zeros((0, 3)), rows.lines
    faces: list[Integers] = [np.zeros((0, 3), dtype=np.int64)]
    face_lines = np.zeros(0, dtype=np.int64)
    for element in header.elements:
        if element.name == "vertex":
            _check_properties(path, element)
            columns = rows.columns(element, ["x", "y", "z"])
            with np.errstate(invalid="ignore"):  # of NaN, for which the mesh is refused below
                vertices = np.stack([columns[axis].values.astype(np.float64) for axis in "xyz"], axis=1)
            vertex_lines = rows.lines
        elif element.name in ("face", "tristrips"):
            name = _corners_name(path, element)
            column = rows.columns(element, [name])[name]
            triangles, owners = (_polygons if element.name == "face" else _strips)(path, column, rows.lines)
            faces.append(triangles)
            if rows.lines:
                face_lines = np.concatenate([face_lines, np.array(rows.lines)[owners]])
        else:
            rows.columns(element, [])
    rows.finish()
    return mesh_of_file(path, vertices, np.concatenate(faces), vertex_lines, face_lines.tolist())


def write_ply(path: str | Path, meshes: Meshes, text: bool = False) -> None:
    """Write one mesh as a PLY file, its coordinates with all digits of their dtype, as float or double.

    Args:
        path: of the file.
        meshes: of one object.
        text: write text in place of binary, least significant byte first.

    Raises:
        InputError: there are several meshes or none, a coordinate is no finite number, or the file cannot be written.
    """
    vertices, faces = one_mesh(path, meshes)
    is_double = vertices.dtype == np.float64
    header = [
        "ply", f"format {'ascii' if text else 'binary_little_endian'} 1.0", f"element vertex {len(vertices)}",
        *(f"property {'double' if is_double else 'float'} {axis}" for axis in "xyz"),
        f"element face {len(faces)}", "property list uchar int vertex_indices", "end_header", "",
    ]  # fmt: skip
    if text:
        digits = 17 if is_double else 9
        lines = [f"{x:.{digits}g} {y:.{digits}g} {z:.{digits}g}\n" for x, y, z in vertices.tolist()]
        body = "".join(lines + [f"3 {a} {b} {c}\n" for a, b, c in faces.tolist()]).encode()
    else:
        rows = np.zeros(len(faces), dtype=[("count", "u1"), ("corners", "<i4", (3,))])
        rows["count"], rows["corners"] = 3, faces
        body = vertices.astype("<f8" if is_double else "<f4").tobytes() + rows.tobytes()
    write_whole(path, "\n".join(header).encode() + body)


def _check_properties(path: str | Path, element: Element) -> None:
    for axis in "xyz":
        matching = [each for each in element.properties if each.name == axis and not each.count_code]
        if len(matching) != 1:
            raise InputError(
                f"{path}: the element 'vertex' of this PLY file has {len(matching)} properties {axis!r} that are "
                "numbers; export it with one"
            )


def _corners_name(path: str | Path, element: Element) -> str:
    matching = [each.name for each in element.properties if each.name in _CORNERS and each.count_code]
    if len(matching) != 1:
        raise InputError(
            f"{path}: the element {element.name!r} of this PLY file has {len(matching)} lists 'vertex_indices'; "
            "export it with one"
        )
    return matching[0]


def _polygons(path: str | Path, column: Column, lines: Sequence[int]) -> tuple[Integers, Integers]:
    """The triangles of faces, and the face of each."""
    corners, counts = _whole(path, column, lines)
    few = np.flatnonzero(counts < 3)
    if len(few):
        row = int(few[0])
        raise InputError(
            f"{place_in(path, lines, row)}: face {row} has {counts[row]} vertices, and needs three; remove it"
        )
    return triangle_fans(corners, counts)


def _strips(path: str | Path, column: Column, lines: Sequence[int]) -> tuple[Integers, Integers]:
    """The triangles of strips, which -1 separates within a row, and the row of each."""
    corners, counts = _whole(path, column, lines)
    owners = np.repeat(np.arange(len(counts)), counts)
    strips = np.cumsum(corners == -1) + owners  # ascending, and another number after each end
    kept = corners != -1
    _, firsts, lengths = np.unique(strips[kept], return_index=True, return_counts=True)
    triangles, numbers = triangle_strips(corners[kept], lengths)
    return triangles, owners[kept][firsts][numbers]


def _whole(path: str | Path, column: Column, lines: Sequence[int]) -> tuple[Integers, Integers]:
    """The vertices that rows name, and how many each row names."""
    counts = column.counts
    assert counts is not None, "a list"
    with np.errstate(invalid="ignore"):
        corners = column.values.astype(np.int64)
    wrong = np.flatnonzero(corners != column.values)
    if len(wrong):
        row = int(np.searchsorted(np.cumsum(counts), wrong[0], side="right"))
        raise InputError(
            f"{place_in(path, lines, row)}: row {row} names vertex {column.values[wrong[0]]}, which is no whole number"
        )
    return corners, counts
