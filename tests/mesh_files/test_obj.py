"""OBJ files: written by hand, by others, and by ourselves; each fault is named with its line."""

from __future__ import annotations

import secrets

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.mesh_files import named_obj_text, read_mesh, read_obj, write_mesh
from detkit.structures import Meshes

FACTS = {
    # vertices, triangles, area, edges, watertight, Euler's number; by trimesh 5.2.0 with process=False
    "cube": (26, 48, 24.0, 72, True, 2),
    "fish": (945, 1886, 8.15472, 2829, True, 2),
    "goathead": (2763, 5522, 381.411471, 8283, True, 2),
    "hand": (810, 1602, 0.818808, 2411, False, 1),
    "koala": (3560, 7116, 111.958363, 10674, True, 2),
    "penguin": (3362, 6720, 12.858191, 10080, True, 2),
    "plane": (8519, 16747, 118.27191, 25291, False, -25),
    "sphere": (642, 1280, 12.506176, 1920, True, 2),
    "spot": (829, 1654, 5.528008, 2481, True, 2),
    "spot_control_mesh": (188, 372, 8.249578, 558, True, 2),
    "torus": (2304, 4608, 9.837049, 6912, True, 0),
    "wingnut": (3047, 6090, 62.429799, 9135, True, 2),
}

BY_HAND = """\
# a pyramid on a square  \u00e9
mtllib some.mtl
o pyramid
v 0 0 0 # the first
v 1 0 0 1.0
v 1 1 0 0.5 0.5 0.5
v 0 1 \\
  0
vt 0 0
vn 0 0 1
v .5 .5 1e0
usemtl stone
f 4/1 3/1 2/1 1/1
f 1//1 2//1 5//1
f 2/1/1 3/1/1 -1/1/1
f -3 -2 -1

f 4 1 5
l 1 2
"""


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
def test_every_way_to_write_a_face_is_read(tmp_path, line_end):
    file = tmp_path / "pyramid.OBJ"
    file.write_bytes(BY_HAND.replace("\n", line_end).encode("latin-1"))
    mesh = read_mesh(file)
    assert mesh.vertices.tolist() == [[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0], [0.5, 0.5, 1]]
    assert mesh.faces.tolist() == [[3, 2, 1], [3, 1, 0], [0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]]
    assert mesh.is_closed().all()


@pytest.mark.parametrize("name", FACTS)
def test_meshes_of_others_are_read_as_trimesh_reads_them(shared, name):
    file = shared / "data" / "meshes" / f"{name}.obj"
    if not file.is_file():
        pytest.skip(f"no {file}")
    mesh = read_mesh(file)
    area = float(mesh.to(dtype=torch.float64).face_areas().sum())
    numbers = (len(mesh.vertices), len(mesh.faces), pytest.approx(area, rel=1e-6), len(mesh.edges))
    assert (*numbers, bool(mesh.is_closed()), int(mesh.euler_characteristics())) == FACTS[name]


@pytest.mark.parametrize("seed", [0, 1, pytest.param(secrets.randbits(32), id="fresh")])
def test_what_is_written_is_read_bit_for_bit(tmp_path, seed):
    random = np.random.default_rng(seed)
    vertices = torch.from_numpy(random.normal(size=(20, 3)) * 10.0 ** random.integers(-20, 20, (20, 1))).float()
    mesh = Meshes([vertices], [torch.from_numpy(random.integers(0, 20, (30, 3)))])
    write_mesh(tmp_path / "mesh.obj", mesh)
    again = read_mesh(tmp_path / "mesh.obj")
    assert torch.equal(again.vertices, mesh.vertices)
    assert torch.equal(again.faces, mesh.faces)


def test_vertices_without_faces_are_a_mesh(tmp_path):
    (tmp_path / "points.obj").write_text("v 0 0 1\n")
    mesh = read_obj(tmp_path / "points.obj")
    assert mesh.vertices.tolist() == [[0, 0, 1]]
    assert mesh.faces.shape == (0, 3)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("v 0 0 1\nv 0 0\n", r"a\.obj, line 2: a vertex has three numbers, .* not '0 0'"),
        ("v 0 0 one\n", r"a\.obj, line 1: a vertex"),
        ("\n# nothing\nv 0 nan 0\n", r"a\.obj, line 3: vertex 0 has a coordinate that is no finite number"),
        ("v 0 0 1e39\n", r"a\.obj, line 1: vertex 0"),
        ("v 0 0 0\nf 1 1\n", r"a\.obj, line 2: a face has three or more vertex numbers, .* not '1 1'"),
        ("v 0 0 0\nf 1 1 x/2\n", r"a\.obj, line 2: a face"),
        ("v 0 0 0\nf 1 0 1\n", r"a\.obj, line 2: a face names vertex 0; vertices count from 1"),
        ("v 0 0 0\nf 1 -2 1\n", r"a\.obj, line 2: a face names vertex -2; .* to -1 here"),
        (f"v 0 0 0\nf 1 1 {10**30}\n", r"a\.obj, line 2: a face names vertex 1000"),
        ("v 0 0 0\nf 1 1 \\\n 1\nf 1 1 1 2\n", r"a\.obj, line 4: a face names the vertices \[0, 0, 1\].* has 1;"),
        ("v 0 0 0\ncurv2 1 2\n", r"a\.obj, line 2: 'curv2' is no statement"),
        ("", r"a\.obj: this OBJ file has no vertices"),
    ],
)
def test_faults_are_named_with_their_line(tmp_path, text, message):
    (tmp_path / "a.obj").write_text(text)
    with pytest.raises(InputError, match=message):
        read_mesh(tmp_path / "a.obj")


def test_other_files_and_several_meshes_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"a\.stl: '\.stl' is no suffix of mesh files; use one of \.obj"):
        read_mesh(tmp_path / "a.stl")
    with pytest.raises(InputError, match="does not exist; give the path of an OBJ file"):
        read_mesh(tmp_path / "a.obj")
    with pytest.raises(InputError, match="a file holds one mesh, and these are 0"):
        write_mesh(tmp_path / "a.obj", Meshes([], []))


def test_several_objects_have_names(tmp_path):
    parts = [np.eye(3), np.zeros((0, 3)), 2 * np.eye(3)]
    faces = [torch.tensor([[0, 1, 2]]), torch.zeros(0, 3, dtype=torch.int64), torch.tensor([[2, 1, 0]])]
    meshes = Meshes([torch.from_numpy(one).float() for one in parts], faces)
    text = named_obj_text(meshes, ["dining table 1", "line\nend #\\", "é_2.b-c"])
    lines = text.splitlines()
    assert [line for line in lines if line.startswith("o")] == ["o dining_table_1", "o line_end_", "o é_2.b-c"]
    assert lines[-1] == "f 6 5 4"
    file = tmp_path / "scene.obj"
    file.write_text(text, encoding="utf-8")
    whole = read_obj(file)
    assert torch.equal(whole.vertices, meshes.vertices)
    assert torch.equal(whole.faces, meshes.faces)
    with pytest.raises(InputError, match="vertex 1 has a coordinate that is NaN"):
        named_obj_text(
            meshes.with_vertices(torch.full((6, 3), torch.nan).index_fill(0, torch.tensor(0), 0)), ["", "", ""]
        )
