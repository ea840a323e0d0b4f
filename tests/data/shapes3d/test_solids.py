"""The meshes of `Shapes3D`: closed, consistently oriented, of the volumes of closed form."""

import math

import numpy as np
import pytest
import torch

from detkit.data.shapes3d import solids
from detkit.data.shapes3d.solids import SOLID_NAMES, SOLIDS, Surface, extruded, revolved, solids_of_folder
from detkit.errors import InputError
from detkit.mesh_files import write_obj
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere

SEEDS = [0, 1, pytest.param(int(np.random.SeedSequence().generate_state(1)[0]), id="fresh")]


def meshes_of(surface: Surface) -> Meshes:
    return Meshes([torch.from_numpy(surface[0])], [torch.from_numpy(surface[1])])


def volume(surface: Surface) -> float:
    """By the divergence theorem: positive where faces are counterclockwise seen from outside."""
    first, second, third = surface[0][surface[1]].transpose(1, 0, 2)
    return float((np.cross(first, second) * third).sum() / 6)


def edges_twice(faces: np.ndarray) -> bool:
    """Whether each edge is passed once in each direction, so that all faces have one orientation."""
    directed = [tuple(edge) for face in faces.tolist() for edge in zip(face, [*face[1:], face[0]], strict=True)]
    return len(set(directed)) == len(directed) and {(b, a) for a, b in directed} == set(directed)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("solid", SOLIDS, ids=SOLID_NAMES)
def test_solids_are_closed_and_oriented_and_of_one_size(solid, seed):
    random = np.random.default_rng(seed)
    volumes = []
    for _ in range(5):
        surface = solid.drawn(random)
        meshes = meshes_of(surface)
        assert meshes.is_closed().tolist() == [True]
        assert meshes.euler_characteristics().tolist() == [0 if solid.name == "torus" else 2]
        assert edges_twice(surface[1])
        assert np.linalg.norm(surface[0], axis=1).max() == pytest.approx(1)
        np.testing.assert_allclose(surface[0].min(axis=0), -surface[0].max(axis=0), atol=1e-12)
        assert meshes.face_areas().min() > 1e-4
        volumes.append(volume(surface))
    assert min(volumes) > 0.1
    assert np.ptp(volumes) > 1e-3  # proportions vary


def test_volumes_of_closed_form():
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    assert volume(extruded(square)) == pytest.approx(8)
    inner_first = np.array([[0.0, 0], [0, 1], [-1, 1], [-1, -1], [1, -1], [1, 0]])
    assert volume(extruded(inner_first)) == pytest.approx(6)
    polygon = 16 * math.sin(math.pi / 16)  # area of a regular polygon of 32 corners
    assert volume(revolved(np.array([[0, -1.0], [1, -1], [1, 2], [0, 2]]), 32)) == pytest.approx(3 * polygon)
    assert volume(revolved(np.array([[0, -1.0], [1, -1], [0, 2]]), 32)) == pytest.approx(polygon)
    loop = np.array([[1.0, 0], [2, 0], [2, 1], [1, 1]])
    assert volume(revolved(loop, 32, is_loop=True)) == pytest.approx((4 - 1) * polygon)
    assert volume(solids.torus(np.random.default_rng(0))) > 0


def test_pyramids_and_cones_point_up():
    for name in ("cone", "pyramid"):
        vertices, _ = SOLIDS[SOLID_NAMES.index(name)].drawn(np.random.default_rng(0))
        top = vertices[:, 1] == vertices[:, 1].max()
        assert top.sum() == 1
        np.testing.assert_allclose(vertices[top][0, [0, 2]], 0, atol=1e-12)


def test_mesh_files_are_classes(tmp_path):
    sphere = icosphere(1)
    write_obj(tmp_path / "b.obj", sphere.with_vertices(sphere.vertices * 3 + 5))
    write_obj(tmp_path / "a.OBJ".lower(), icosphere(0))
    (tmp_path / "SOURCE.md").write_text("of the meshes")
    (tmp_path / ".hidden.obj").write_text("nothing")
    found = solids_of_folder(tmp_path)
    assert [solid.name for solid in found] == ["a", "b"]
    vertices, faces = found[1].drawn(np.random.default_rng(0))
    np.testing.assert_allclose(vertices, sphere.vertices, atol=1e-5)
    np.testing.assert_array_equal(faces, sphere.faces)


def test_wrong_mesh_folders(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        solids_of_folder(tmp_path / "gone")
    (tmp_path / "notes.txt").write_text("none")
    with pytest.raises(InputError, match="no mesh files"):
        solids_of_folder(tmp_path)
    (tmp_path / "a.obj").write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\n")
    with pytest.raises(InputError, match=r"a\.obj: this mesh has no faces"):
        solids_of_folder(tmp_path)
    (tmp_path / "a.obj").write_text("v 1 1 1\nv 1 1 1\nv 1 1 1\nf 1 2 3\n")
    with pytest.raises(InputError, match="vertices are one point"):
        solids_of_folder(tmp_path)
    write_obj(tmp_path / "a.obj", icosphere(0))
    write_obj(tmp_path / "b.obj", icosphere(0))
    (tmp_path / "b.obj").rename(tmp_path / "a.OBJ")
    with pytest.raises(InputError, match="several mesh files are named a"):
        solids_of_folder(tmp_path)
