"""Which meshes have an inside, against what `voxelize` makes of them."""

from __future__ import annotations

import secrets

import pytest
import torch

from detkit.errors import InputError
from detkit.mesh_files import read_mesh
from detkit.ops.meshes import voxelize
from detkit.structures import Meshes
from detkit.structures.meshes import have_inside, icosphere


def _unmerged(meshes: Meshes) -> Meshes:
    """Each face with three vertices of its own."""
    return Meshes([meshes.vertices[meshes.faces].flatten(0, 1)], [torch.arange(3 * len(meshes.faces)).view(-1, 3)])


def _box(low: float, high: float) -> Meshes:
    """A cube, whose faces are counterclockwise seen from outside."""
    corners = torch.cartesian_prod(*[torch.tensor([low, high])] * 3)
    quads = torch.tensor([[0, 1, 3, 2], [4, 6, 7, 5], [0, 4, 5, 1], [2, 3, 7, 6], [0, 2, 6, 4], [1, 5, 7, 3]])
    return Meshes([corners], [torch.cat((quads[:, :3], quads[:, [0, 2, 3]]))])


def _joined(*parts: Meshes) -> Meshes:
    """All as one object."""
    cat = Meshes.cat(parts)
    return Meshes([cat.vertices], [cat.faces])


def _merged(meshes: Meshes) -> Meshes:
    """Vertices at one point are one."""
    points, rows = meshes.vertices.unique(dim=0, return_inverse=True)
    return Meshes([points], [rows[meshes.faces]])


def _negated_zeros(meshes: Meshes) -> Meshes:
    """Every other zero is negative."""
    vertices = meshes.vertices.clone()
    vertices[::2][vertices[::2] == 0] = -0.0
    return meshes.with_vertices(vertices)


def _fills(meshes: Meshes, seed: int) -> bool:
    """Whether `voxelize` takes the mesh from several sides."""
    generator = torch.Generator().manual_seed(seed)
    for _ in range(6):
        turn = torch.linalg.qr(torch.randn(3, 3, generator=generator, dtype=torch.float64))[0]
        try:
            voxelize(0.55 * meshes.vertices.double() @ turn.T, meshes.faces, meshes.face_counts, (24, 25, 26))
        except InputError:
            return False
    return True


SPHERE = icosphere(1)
FLIPPED = SPHERE.faces.clone()
FLIPPED[5] = FLIPPED[5].flip(0)
POINT = torch.zeros(1, 3, dtype=torch.int64)
ABOVE = _box(0.0, 0.5)
BESIDE = ABOVE.with_vertices(ABOVE.vertices - torch.tensor([0.5, 0.5, 0.0]))  # they share an edge
CASES = {
    "sphere": (SPHERE, True, True),
    "inside out": (Meshes([SPHERE.vertices], [SPHERE.faces.flip(1)]), True, True),
    "unmerged": (_unmerged(SPHERE), False, True),
    "negative zeros": (_negated_zeros(_unmerged(ABOVE)), False, True),
    "two shells": (_joined(SPHERE, SPHERE.with_vertices(SPHERE.vertices * 0.5)), True, True),
    "four faces at an edge": (_merged(_joined(ABOVE, BESIDE)), False, True),
    "a hole": (Meshes([SPHERE.vertices], [SPHERE.faces[1:]]), False, False),
    "half": (Meshes([SPHERE.vertices], [SPHERE.faces[::2]]), False, False),
    "one face turned": (Meshes([SPHERE.vertices], [FLIPPED]), True, False),
    "a face that is a point": (Meshes([SPHERE.vertices], [torch.cat((SPHERE.faces, POINT))]), False, True),
}


@pytest.mark.parametrize("name", CASES)
def test_they_are_those_that_voxelize_fills(name):
    meshes, is_closed, expected = CASES[name]
    assert have_inside(meshes).tolist() == [expected]
    assert meshes.is_closed().tolist() == [is_closed]  # where they differ, is_closed would not do
    assert _fills(meshes, seed=0) == expected


@pytest.mark.parametrize("seed", [0, 1, pytest.param(secrets.randbits(32), id="fresh")])
def test_objects_of_a_batch_do_not_touch(seed):
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(CASES), generator=generator).tolist()
    chosen = [list(CASES.values())[number] for number in order]
    empty = Meshes([torch.zeros(0, 3)], [torch.zeros(0, 3, dtype=torch.int64)])
    together = Meshes.cat([*(one for one, _, _ in chosen), empty])
    assert have_inside(together).tolist() == [*(expected for _, _, expected in chosen), False]
    assert have_inside(Meshes([], [])).tolist() == []


def test_files_of_which_that_is_known(shared):
    """The table beside the files says at how many edges of two of them there are not two faces."""
    paths = sorted((shared / "data/meshes").glob("*.obj"))
    assert len(paths) == 12
    assert [path.name for path in paths if not have_inside(read_mesh(path))] == ["hand.obj", "plane.obj"]
