"""`mesh_edges` and `edges_of_faces` against sets."""

import pytest
import torch

from detkit.errors import InputError
from detkit.ops.meshes import edges_of_faces, mesh_edges

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]


@pytest.mark.parametrize("seed", SEEDS)
def test_mesh_edges_are_the_set_of_sides(seed):
    faces = torch.randint(0, 9, (15, 3), generator=torch.Generator().manual_seed(seed))
    faces = faces[(faces[:, 0] != faces[:, 1]) & (faces[:, 1] != faces[:, 2]) & (faces[:, 0] != faces[:, 2])]
    sides = {tuple(sorted((face[i], face[i - 1]))) for face in faces.tolist() for i in range(3)}
    assert mesh_edges(faces).tolist() == [list(side) for side in sorted(sides)]


def test_mesh_edges_of_nothing():
    assert mesh_edges(torch.zeros(0, 3, dtype=torch.int64)).shape == (0, 2)


@pytest.mark.parametrize("seed", SEEDS)
def test_edges_of_a_face_lie_opposite_its_corners(seed):
    faces = torch.randint(0, 9, (15, 3), generator=torch.Generator().manual_seed(seed))
    edges, face_edges = edges_of_faces(faces)
    assert torch.equal(edges, mesh_edges(faces))
    for face, own in zip(faces.tolist(), edges[face_edges].tolist(), strict=True):
        assert own == [sorted(face[:corner] + face[corner + 1 :]) for corner in range(3)]


def test_vertices_of_great_number():
    faces = torch.tensor([[2**31 - 1, 0, 2**31 - 2]])
    assert mesh_edges(faces).tolist() == [[0, 2**31 - 2], [0, 2**31 - 1], [2**31 - 2, 2**31 - 1]]


def test_bad_input():
    with pytest.raises(InputError, match=r"faces must have shape \(F, 3\)"):
        mesh_edges(torch.zeros(4, 2, dtype=torch.int64))
