"""Subdivision and spheres: counts and Euler's characteristic, areas that stay, edges that are shared."""

from __future__ import annotations

import itertools
import math
import secrets

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere, subdivided

SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]


@pytest.mark.parametrize("level", range(5))
def test_a_sphere_has_the_counts_of_its_level(level):
    sphere = icosphere(level)
    assert len(sphere) == 1
    assert sphere.vertices.shape == (10 * 4**level + 2, 3)
    assert sphere.faces.shape == (20 * 4**level, 3)
    assert sphere.euler_characteristics().tolist() == [2]
    assert sphere.is_closed().tolist() == [True]
    torch.testing.assert_close(sphere.vertices.norm(dim=1), torch.ones(len(sphere.vertices)))
    assert len(sphere.vertices.mul(1e4).round().unique(dim=0)) == len(sphere.vertices)  # no vertex twice
    centers = sphere.vertices[sphere.faces].mean(dim=1)
    assert ((centers * sphere.face_normals()).sum(dim=1) > 0.75).all()  # outwards


def test_the_area_of_spheres_approaches_that_of_the_ball():
    missing = [4 * math.pi - float(icosphere(level).face_areas().double().sum()) for level in range(5)]
    assert missing[0] == pytest.approx(4 * math.pi - 5 * 3**0.5 * 16 / (10 + 2 * 5**0.5), rel=1e-5)
    assert all(0 < finer < coarser / 3 for coarser, finer in itertools.pairwise(missing))
    with pytest.raises(InputError, match="the level is -1"):
        icosphere(-1)


@pytest.mark.parametrize("seed", SEEDS)
def test_subdivision_equals_a_loop_over_faces(seed):
    random = np.random.default_rng(seed)
    sizes = [(6, 8), (0, 0), (3, 0), (9, 12)]
    vertices = [torch.from_numpy(random.normal(size=(count, 3))) for count, _ in sizes]
    faces = [torch.from_numpy(random.integers(0, max(v, 1), (f, 3))) for v, f in sizes]
    finer = subdivided(Meshes(vertices, faces))
    for points, triangles, new_points, new_triangles in zip(
        vertices, faces, finer.vertices_list(), finer.faces_list(), strict=True
    ):
        assert torch.equal(new_points[: len(points)], points)
        edges = {frozenset((int(f[i]), int(f[i - 1]))) for f in triangles for i in range(3)}
        assert len(new_points) == len(points) + len(edges)
        wanted = []
        for a, b, c in points[triangles]:
            ab, bc, ca = (a + b) / 2, (b + c) / 2, (c + a) / 2
            wanted += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (bc, ca, ab)]
        corners = torch.stack([torch.stack(face) for face in wanted]) if wanted else torch.zeros(0, 3, 3).double()
        torch.testing.assert_close(new_points[new_triangles], corners)


def test_subdivision_keeps_area_shape_and_gradients():
    sphere = icosphere(1)
    vertices = sphere.vertices.double().requires_grad_()
    both = Meshes([vertices, vertices[:3]], [sphere.faces, torch.tensor([[0, 1, 2]])])
    finer = subdivided(subdivided(both))
    assert finer.euler_characteristics().tolist() == [2, 1]
    assert finer.is_closed().tolist() == [True, False]
    for one, other in zip(range(2), range(2), strict=True):
        torch.testing.assert_close(finer[one].face_areas().sum(), both[other].face_areas().sum())
    # Each vertex counts with the area of the mesh: a shift of all vertices shifts all new ones.
    (gradient,) = torch.autograd.grad(finer[0].vertices.sum(), vertices)
    assert float(gradient.sum()) == pytest.approx(3 * len(finer[0].vertices))
