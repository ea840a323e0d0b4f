"""PLY files: of trimesh, with everything that the format has, and our own; each fault is named."""

from __future__ import annotations

import secrets
import struct

import files_of_trimesh
import numpy as np
import pytest
import torch
from test_obj import FACTS

from detkit.errors import InputError
from detkit.mesh_files import read_mesh, read_obj, read_ply, write_mesh, write_ply
from detkit.structures import Meshes

HEADER = """\
ply
format FORMAT 1.0
comment end_header comes later
obj_info of no use
element camera 2
property list uint16 short angles
property double zoom
element nothing 1000000000000
element vertex 5
property uchar red
property double z
property list int8 float32 weights
property float x
property int16 y
element face 3
property list uint8 float uv
property list int uint32 vertex_index
property float64 quality
element tristrips 1
property list int32 int vertex_indices
end_header
"""
ROWS = [
    *([[3, -1, 2, 3], 0.5], [[0], 2.5]),
    *([255, 0.0, [0], 0.0, 0], [1, 0.0, [2, 9, 9], 1.0, 0], [2, 0.0, [1, 9], 1.0, 1], [3, 0.0, [0], 0.0, 1]),
    [4, 1.0, [0], 0.5, -300],
    *([[0], [4, 3, 2, 1, 0], 1.0], [[2, 0.5, 0.5], [3, 0, 1, 4], 1.0], [[0], [3, 1, 2, 4], 1.0]),
    [[9, 2, 3, 4, -1, 3, 0, 4, 0, 1]],
]
CODES = [["Hh", "d"]] * 2 + [["B", "d", "bf", "f", "h"]] * 5 + [["Bf", "iI", "d"]] * 3 + [["ii"]]
VERTICES = [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, -300, 1]]
FACES = [[3, 2, 1], [3, 1, 0], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4], [4, 0, 1]]


def with_everything(order: str) -> bytes:
    """The rows above in text (""), or binary of an order of bytes."""
    name = {"": "ascii", "<": "binary_little_endian", ">": "binary_big_endian"}[order]
    header = HEADER.replace("FORMAT", name).encode()
    if not order:
        flat = [[x for cell in row for x in (cell if isinstance(cell, list) else [cell])] for row in ROWS]
        return header + "\n".join(" ".join(map(str, row)) for row in flat).encode()
    body = b""
    for row, codes in zip(ROWS, CODES, strict=True):
        for cell, code in zip(row, codes, strict=True):
            if isinstance(cell, list):
                body += struct.pack(order + code[0] + code[1] * cell[0], *cell)
            else:
                body += struct.pack(order + code, cell)
    return header + body


@pytest.mark.parametrize("order", ["", "<", ">"])
def test_other_elements_and_properties_of_every_type_are_skipped(tmp_path, order):
    (tmp_path / "a.ply").write_bytes(with_everything(order))
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.vertices.tolist() == VERTICES
    # The strips: 2 3 4 and 3 0 4 0 1, whose triangles of two corners are left out.
    assert mesh.faces.tolist() == FACES


@pytest.mark.parametrize("line_end", [b"\r\n", b"\r"])
@pytest.mark.parametrize("order", ["", "<"])
def test_line_ends_of_all_systems(tmp_path, order, line_end):
    header, end, body = with_everything(order).partition(b"end_header\n")
    body = body if order else body.replace(b"\n", line_end)
    (tmp_path / "a.ply").write_bytes((header + end).replace(b"\n", line_end) + body)
    assert read_ply(tmp_path / "a.ply").vertices.tolist() == VERTICES


@pytest.mark.parametrize("content", [files_of_trimesh.PLY_TEXT, files_of_trimesh.PLY_BINARY], ids=["text", "binary"])
def test_files_of_trimesh(tmp_path, content):
    (tmp_path / "a.ply").write_bytes(content)
    mesh = read_mesh(tmp_path / "a.ply")
    assert mesh.vertices.tolist() == files_of_trimesh.VERTICES
    assert mesh.faces.tolist() == files_of_trimesh.FACES


@pytest.mark.parametrize("name", FACTS)
def test_meshes_of_others_come_back(shared, tmp_path, name):
    file = shared / "data" / "meshes" / f"{name}.obj"
    if not file.is_file():
        pytest.skip(f"no {file}")
    mesh = read_obj(file)
    for text in (False, True):
        write_ply(tmp_path / "a.ply", mesh, text=text)
        again = read_mesh(tmp_path / "a.ply")
        assert torch.equal(again.vertices, mesh.vertices)
        assert torch.equal(again.faces, mesh.faces)


@pytest.mark.parametrize("seed", [0, 1, pytest.param(secrets.randbits(32), id="fresh")])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_written_is_read_bit_for_bit(tmp_path, seed, dtype):
    random = np.random.default_rng(seed)
    vertices = torch.from_numpy(random.normal(size=(20, 3)) * 10.0 ** random.integers(-20, 20, (20, 1))).to(dtype)
    mesh = Meshes([vertices], [torch.from_numpy(random.integers(0, 20, (30, 3)))])
    for text in (False, True):
        write_ply(tmp_path / "a.ply", mesh, text=text)
        again = read_mesh(tmp_path / "a.ply")
        assert torch.equal(again.vertices, vertices.float())
        assert torch.equal(again.faces, mesh.faces)


def test_the_bytes_of_a_written_file(tmp_path):
    mesh = Meshes([torch.tensor([[0.0, 1, 2], [3, 4, 5], [6, 7, 8]])], [torch.tensor([[0, 1, 2]])])
    write_mesh(tmp_path / "a.ply", mesh)
    header = (
        "ply\nformat binary_little_endian 1.0\nelement vertex 3\nproperty float x\nproperty float y\nproperty float z\n"
        "element face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    body = struct.pack("<9fB3i", *range(9), 3, 0, 1, 2)
    assert (tmp_path / "a.ply").read_bytes() == header.encode() + body
    write_ply(tmp_path / "b.ply", mesh.to(dtype=torch.float64), text=True)
    lines = (tmp_path / "b.ply").read_text().splitlines()
    assert lines[1] == "format ascii 1.0"
    assert lines[3] == "property double x"
    assert lines[-4:] == ["0 1 2", "3 4 5", "6 7 8", "3 0 1 2"]


@pytest.mark.parametrize("faces", ["", "element face 0\nproperty list uchar int vertex_indices\n"])
@pytest.mark.parametrize("encoding", ["ascii", "binary_big_endian"])
def test_vertices_without_faces_are_a_mesh(tmp_path, faces, encoding):
    properties = "".join(f"property short {axis}\n" for axis in "xyz")
    header = f"ply\nformat {encoding} 1.0\nelement vertex 1\n{properties}{faces}end_header\n"
    body = b"1 2 3\n" if encoding == "ascii" else struct.pack(">3h", 1, 2, 3)
    (tmp_path / "a.ply").write_bytes(header.encode() + body)
    mesh = read_ply(tmp_path / "a.ply")
    assert mesh.vertices.tolist() == [[1, 2, 3]]
    assert mesh.faces.shape == (0, 3)


XYZ = "property float x\nproperty float y\nproperty float z\n"
LIST = "property list uchar int vertex_indices\n"
THREE = "0 0 0\n1 0 0\n0 1 0\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"a\.ply: this is no PLY file"),
        ("plyx\n", r"a\.ply: this is no PLY file"),
        ("ply\nformat ascii 1.0\nelement vertex 1\n", r"a\.ply: this PLY file ends within its header"),
        ("ply\nend_header\n", r"a\.ply: the header has no line 'format ascii 1\.0'"),
        ("ply\nformat middle_endian 1.0\nend_header\n", r"a\.ply, line 2: 'format middle_endian 1\.0' is no line of"),
        ("ply\nformat ascii 1.0\nelement vertex -1\nend_header\n", r"line 3: 'element vertex -1' is no line"),
        ("ply\nformat ascii 1.0\nproperty float x\nend_header\n", r"line 3: 'property float x' is no line"),
        ("ply\nformat ascii 1.0\nelement a 1\nproperty x\nend_header\n", r"line 4: a property is written 'property fl"),
        ("ply\nformat ascii 1.0\nelement a 1\nproperty quad x\nend_header\n", r"line 4: a property of type 'quad'"),
        (
            "ply\nformat ascii 1.0\nelement a 1\nproperty list float int x\nend_header\n",
            r"line 4: .*of lists are",
        ),
        ("ply\nformat ascii 1.0\nend_header\n", r"a\.ply: the header of this PLY file has no element 'vertex'"),
        (f"ply\nformat ascii 1.0\nelement vertex 0\n{XYZ}element vertex 0\nend_header\n", "two elements 'vertex'"),
        ("ply\nformat ascii 1.0\nelement vertex 0\nproperty float x\nend_header\n", "has 0 properties 'y'"),
        (f"ply\nformat ascii 1.0\nelement vertex 0\n{XYZ}element face 0\nproperty int k\nend_header\n", "has 0 lists"),
        (f"ply\nformat ascii 1.0\nelement vertex 2\n{XYZ}end_header\n0 0 0\n", "ends before the 2 rows of its element"),
        (
            f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}end_header\n\n0 0\n",
            r"line 9: a row of element 'vertex'",
        ),
        (f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}end_header\n0 0 0 0\n", r"line 8: .*x, y, z, not '0 0 0 0'"),
        (f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}end_header\n0 one 0\n", r"line 8: a row of element 'vertex'"),
        (f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}end_header\n0 nan 0\n", r"line 8: vertex 0 has a coordinate"),
        (
            f"ply\nformat ascii 1.0\nelement vertex 1\n{XYZ}end_header\n0 0 0\n1 1 1\n",
            "line 9: the header .* no such",
        ),
        *(
            (f"ply\nformat ascii 1.0\nelement vertex 3\n{XYZ}element face 1\n{LIST}end_header\n{THREE}{row}\n", message)
            for row, message in [
                ("3 0 1", r"line 13: a row of element 'face' has the values a list vertex_indices, not '3 0 1'"),
                ("-1", "line 13: a row of element 'face'"),
                ("1.5 0 1", "line 13: a row of element 'face'"),
                ("2 0 1", "line 13: face 0 has 2 vertices, and needs three"),
                ("3 0 1 0.5", r"line 13: row 0 names vertex 0\.5, which is no whole number"),
                ("3 0 1 inf", "line 13: row 0 names vertex inf"),
                ("4 0 1 2 3", r"line 13: a face names the vertices \[0, 2, 3\].* has 3;"),
                ("3 0 1 -1", r"line 13: a face names the vertices \[0, 1, -1\]"),
            ]
        ),
    ],
)
def test_faults_are_named(tmp_path, text, message):
    (tmp_path / "a.ply").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mesh(tmp_path / "a.ply")


@pytest.mark.parametrize(
    ("counts", "body", "message"),
    [
        ((10**12, 0), b"\0" * 50, "ends before the 1000000000000 rows of its element 'vertex'"),
        ((0, 10**12), b"\0" * 50, "ends before the 1000000000000 rows of its element 'face'"),
        ((1, 10**17), b"\0" * 50, "ends before the 100000000000000000 rows of its element 'face'"),
        ((1, 0), struct.pack("<3f", 0, np.nan, 0), "vertex 0 has a coordinate that is no finite number"),
        ((1, 0), struct.pack("<3fi", 0, 0, 0, 7), "4 bytes follow the last row"),
        ((1, 2), struct.pack("<3fi3ii4i", 0, 0, 0, 3, 0, 0, 0, 4, 0, 0, 0, 0)[:-1], "ends before the 2 rows"),
        ((1, 1), struct.pack("<3fi3i", 0, 0, 0, 2**31 - 1, 0, 0, 0), "ends before the 1 rows"),
        ((1, 3), struct.pack("<3fi3i", 0, 0, 0, 2**31 - 1, 0, 0, 0), "ends before the 3 rows"),
        ((1, 2), struct.pack("<3fi3ii", 0, 0, 0, 3, 0, 0, 0, -3), "row 1 of element 'face' has the length -3"),
        ((1, 1), struct.pack("<3fi3i", 0, 0, 0, 3, 0, 1, 0), r"a face names the vertices \[0, 1, 0\].* has 1;"),
    ],
)
def test_faults_of_binary_files_are_named(tmp_path, counts, body, message):
    lists = LIST.replace("uchar", "int")
    header = f"element vertex {counts[0]}\n{XYZ}element face {counts[1]}\n{lists}end_header\n"
    (tmp_path / "a.ply").write_bytes(f"ply\nformat binary_little_endian 1.0\n{header}".encode() + body)
    with pytest.raises(InputError, match=f"a\\.ply: .*{message}"):
        read_mesh(tmp_path / "a.ply")


@pytest.mark.filterwarnings("error")
def test_a_signaling_nan_gives_no_warning(tmp_path):
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex 1\n{XYZ}end_header\n"
    (tmp_path / "a.ply").write_bytes(header.encode() + b"\1\0\x80\x7f" * 3)
    with pytest.raises(InputError, match="vertex 0 has a coordinate that is no finite number"):
        read_mesh(tmp_path / "a.ply")


def test_what_no_reader_takes_is_not_written(tmp_path):
    mesh = Meshes([torch.zeros(2, 3)], [torch.zeros(0, 3, dtype=torch.int64)])
    with pytest.raises(InputError, match=r"a\.ply: vertex 1 has a coordinate that is NaN or infinite"):
        write_mesh(tmp_path / "a.ply", mesh.with_vertices(torch.tensor([[0, 0, 0], [0, torch.nan, 0]])))
    with pytest.raises(InputError, match="a file holds one mesh, and these are 2"):
        write_mesh(tmp_path / "a.ply", Meshes.cat([mesh, mesh]))
    assert not (tmp_path / "a.ply").exists()
