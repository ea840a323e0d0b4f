"""`sample_points`: statistics, planes and seeds."""

import pytest
import torch
from scipy import stats

from detkit.errors import InputError
from detkit.ops.meshes import cubify, sample_points

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]


def generator(seed):
    return torch.Generator().manual_seed(seed)


def soup(seed, counts=(4, 0, 7), dtype=torch.float64):
    """Triangles of several objects: each face has vertices of its own."""
    faces = torch.arange(3 * sum(counts)).view(-1, 3)
    vertices = torch.randn(3 * sum(counts), 3, generator=generator(seed), dtype=dtype)
    return vertices, faces, torch.tensor(counts)


def coordinates(vertices, faces, points):
    """Barycentric coordinates of points in each face, and their distance from its plane: both (F, P, ...)."""
    a, b, c = vertices[faces].double().unbind(1)
    basis = torch.stack([b - a, c - a, torch.linalg.cross(b - a, c - a)], dim=2)
    solved = torch.linalg.solve(basis[:, None], (points.double()[None] - a[:, None])[..., None])[..., 0]
    return torch.cat([1 - solved[..., :2].sum(-1, keepdim=True), solved[..., :2]], dim=-1), solved[..., 2].abs()


def face_of(vertices, faces, points, tolerance=1e-9):
    """The face on which each point lies."""
    weights, off = coordinates(vertices, faces, points)
    lies = (weights > -tolerance).all(-1) & (off < tolerance)
    assert (lies.sum(0) == 1).all()
    return lies.int().argmax(0), weights


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_faces_are_drawn_by_area_and_places_uniformly(seed):
    vertices, faces, counts = soup(seed)
    samples = sample_points(vertices, faces, counts, 4000, generator(seed + 100))
    for index, own_faces in zip([0, 2], [faces[:4], faces[4:]], strict=True):
        a, b, c = vertices[own_faces].unbind(1)
        area = torch.linalg.cross(b - a, c - a).norm(dim=1)
        face, weights = face_of(vertices, own_faces, samples.points[index])
        expected = 4000 * area / area.sum()
        assert stats.chisquare(face.bincount(minlength=len(own_faces)), expected).pvalue > 1e-4
        own = weights[face, torch.arange(4000)]
        for corner in range(3):  # a barycentric coordinate of a uniform point is Beta(1, 2)
            assert stats.kstest(own[:, corner].numpy(), stats.beta(1, 2).cdf).pvalue > 1e-4


@pytest.mark.parametrize("seed", SEEDS)
def test_normals_are_those_of_the_faces(seed):
    vertices, faces, counts = soup(seed)
    samples = sample_points(vertices, faces, counts, 50, generator(seed))
    face, _ = face_of(vertices, faces[4:], samples.points[2])
    a, b, c = vertices[faces[4:]].unbind(1)
    cross = torch.linalg.cross(b - a, c - a)
    torch.testing.assert_close(samples.normals[2], (cross / cross.norm(dim=1, keepdim=True))[face])


def test_normals_of_a_solid_point_outward():
    voxels = torch.zeros(1, 3, 3, 3)
    voxels[0, 1, 1, 1] = 1
    meshes = cubify(voxels, 0.5)
    samples = sample_points(meshes.vertices, meshes.faces, meshes.face_counts, 100, generator(0))
    outward = samples.points[0] - meshes.vertices.mean(0)
    assert ((samples.normals[0] * outward).sum(1) > 0.49).all()  # the sides are half an edge of 1 away


def test_seeds():
    first, again, other = (sample_points(*soup(0), 20, generator(seed)) for seed in (7, 7, 8))
    assert torch.equal(first.points, again.points)
    assert not torch.equal(first.points, other.points)


@pytest.mark.parametrize("scale", [1e-12, 1e6], ids=str)
def test_objects_of_very_different_size_do_not_mix(scale):
    vertices, faces, counts = soup(3, counts=(3, 5, 4))
    vertices[9:24] *= scale
    samples = sample_points(vertices, faces, counts, 500, generator(0))
    middle = samples.points[1] / scale
    face, _ = face_of(vertices / scale, faces[3:8], middle)
    assert len(face.unique()) == 5


def test_empty_and_flat_objects():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [1, 1, 1], [0, 1, 2], [0, 1, 3], [0, 1, 2]])
    samples = sample_points(vertices, faces, torch.tensor([0, 2, 3, 0]), 200, generator(0))
    assert samples.counts.tolist() == [0, 200, 200, 0]
    assert not samples.points[[0, 3]].any()
    assert not samples.normals[:2].any()
    assert not samples.points[1, :, 1:].any()  # on the line
    assert (samples.points[1] == vertices[1]).all(1).float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert torch.equal(samples.normals[2], torch.tensor([0.0, 0, 1]).expand(200, 3))  # never a face without area


def test_no_faces_at_all():
    vertices = torch.zeros(0, 3, requires_grad=True)
    samples = sample_points(vertices, torch.zeros(0, 3, dtype=torch.int64), torch.tensor([0, 0]), 5)
    assert samples.points.shape == samples.normals.shape == (2, 5, 3)
    assert samples.counts.tolist() == [0, 0]
    samples.points.sum().backward()
    none = torch.zeros(0, dtype=torch.int64)
    assert sample_points(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64), none, 5).points.shape == (0, 5, 3)


def test_gradients():
    vertices, faces, counts = soup(4, counts=(2, 0, 1))

    def operation(given):
        return sample_points(given, faces, counts, 3, generator(0))[:2]

    # Areas move with the vertices too, but a small step changes no drawn face.
    assert torch.autograd.gradcheck(operation, vertices.requires_grad_())


def test_flat_faces_have_finite_gradients():
    vertices = torch.zeros(3, 3, requires_grad=True)
    samples = sample_points(vertices, torch.tensor([[0, 1, 2]]), torch.tensor([1]), 5, generator(0))
    (samples.points.sum() + samples.normals.sum()).backward()
    assert vertices.grad.isfinite().all()


def test_bad_input():
    vertices, faces, counts = soup(0)
    with pytest.raises(InputError, match="number must be at least 0"):
        sample_points(vertices, faces, counts, -1)
    with pytest.raises(InputError, match=r"faces must have shape \(F, 3\)"):
        sample_points(vertices, faces[:, :2], counts, 5)
