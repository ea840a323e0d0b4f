"""The losses of meshes against scipy's k-d tree, loops over objects, and values that are known."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from detkit.errors import InputError
from detkit.ops.meshes import (
    SurfacePoints,
    chamfer_and_normal_losses,
    cubify,
    edge_length_loss,
    mesh_edges,
    sample_points,
)

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]


def surface(seed, size, counts):
    generator = torch.Generator().manual_seed(seed)
    points, normals = torch.randn(2, len(counts), size, 3, generator=generator, dtype=torch.float64)
    return SurfacePoints(points, torch.nn.functional.normalize(normals, dim=2), torch.tensor(counts))


def by_trees(first, second):
    """Both losses, object by object."""
    sums = np.zeros(2)
    for index in range(len(first.counts)):
        n, m = int(first.counts[index]), int(second.counts[index])
        if not n or not m:
            continue
        a, b = first.points[index, :n].numpy(), second.points[index, :m].numpy()
        a_normals, b_normals = first.normals[index, :n].numpy(), second.normals[index, :m].numpy()
        for x, y, x_normals, y_normals in [(a, b, a_normals, b_normals), (b, a, b_normals, a_normals)]:
            distance, row = cKDTree(y).query(x)
            cosines = np.einsum("ij,ij->i", x_normals, y_normals[row])
            sums += (distance**2).mean(), (1 - np.abs(cosines)).mean()
    return sums / len(first.counts)


@pytest.mark.parametrize("seed", SEEDS)
def test_chamfer_and_normals_equal_k_d_trees(seed):
    first, second = surface(seed, 9, [9, 0, 5, 4]), surface(seed + 1, 12, [7, 3, 0, 12])
    ours = torch.stack(chamfer_and_normal_losses(first, second)).numpy()
    np.testing.assert_allclose(ours, by_trees(first, second), rtol=1e-10)


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_of_chamfer_are_those_of_cdist(seed):
    first, second = surface(seed, 9, [9, 5]), surface(seed + 1, 12, [7, 12])
    gradients = []
    for use_cdist in (False, True):
        a, b = first.points.clone().requires_grad_(), second.points.clone().requires_grad_()
        if use_cdist:
            squared = [torch.cdist(a[i, : first.counts[i]], b[i, : second.counts[i]]).square() for i in range(2)]
            loss = sum(own.min(0).values.mean() + own.min(1).values.mean() for own in squared) / 2
        else:
            loss = chamfer_and_normal_losses(first._replace(points=a), second._replace(points=b))[0]
        gradients.append(torch.autograd.grad(loss, (a, b)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradients_of_normals():
    first, second = surface(3, 4, [4, 0]), surface(4, 5, [5, 2])

    def operation(a, b):
        return chamfer_and_normal_losses(first._replace(normals=a), second._replace(normals=b))[1]

    assert torch.autograd.gradcheck(operation, (first.normals.requires_grad_(), second.normals.requires_grad_()))


def test_turned_normals_agree_and_equal_surfaces_cost_nothing():
    first = surface(0, 9, [9, 4])
    turned = first._replace(normals=-first.normals)
    assert torch.stack(chamfer_and_normal_losses(first, turned)).abs().max() < 1e-12
    shifted = first._replace(points=first.points + torch.tensor([1e-6, 0, 0], dtype=torch.float64))
    assert chamfer_and_normal_losses(first, shifted)[0].item() == pytest.approx(2e-12)


def test_empty_objects_have_finite_gradients():
    for size in (4, 0):
        points = torch.randn(2, size, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
        empty = SurfacePoints(points, points, torch.tensor([0, 0]))
        full = surface(1, 5, [5, 5])
        losses = torch.stack([*chamfer_and_normal_losses(empty, full), *chamfer_and_normal_losses(full, empty)])
        losses.sum().backward()
        assert not losses.any()
        assert not points.grad.any()
    nothing = SurfacePoints(torch.zeros(0, 5, 3), torch.zeros(0, 5, 3), torch.zeros(0, dtype=torch.int64))
    assert [loss.item() for loss in chamfer_and_normal_losses(nothing, nothing)] == [0, 0]


def test_a_step_along_the_gradient_brings_a_mesh_nearer():
    voxels = torch.zeros(2, 4, 4, 4)
    voxels[0, 1:3, 1:3, 1:3] = voxels[1, 0:2, 0:3, 1] = 1
    meshes = cubify(voxels, 0.5)
    generator = torch.Generator().manual_seed(0)
    true = sample_points(meshes.vertices * 0.8, meshes.faces, meshes.face_counts, 300, generator)
    vertices, losses = meshes.vertices.clone().requires_grad_(), []
    for _ in range(30):
        points = sample_points(vertices, meshes.faces, meshes.face_counts, 300, generator)
        chamfer, _ = chamfer_and_normal_losses(points, true)
        (gradient,) = torch.autograd.grad(chamfer, vertices)
        vertices = (vertices.detach() - 2 * gradient).requires_grad_()
        losses.append(chamfer.item())
    assert np.mean(losses[-5:]) < 0.7 * losses[0]


@pytest.mark.parametrize("seed", SEEDS)
def test_edge_lengths_object_by_object(seed):
    generator = torch.Generator().manual_seed(seed)
    counts = torch.tensor([4, 0, 6, 2])
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [4, 5, 9], [6, 7, 8], [7, 8, 9]])  # the last object has none
    vertices = torch.randn(12, 3, generator=generator, dtype=torch.float64, requires_grad=True)
    edges = mesh_edges(faces)
    places = vertices.detach().numpy()
    means = [
        np.mean([((places[a] - places[b]) ** 2).sum() for a, b in edges.tolist() if low <= a < high])
        for low, high in [(0, 4), (4, 10)]
    ]
    assert edge_length_loss(vertices, edges, counts).item() == pytest.approx(sum(means) / 4)
    assert torch.autograd.gradcheck(lambda given: edge_length_loss(given, edges, counts), vertices)


def test_edge_length_of_nothing():
    none = torch.zeros(0, dtype=torch.int64)
    assert edge_length_loss(torch.zeros(0, 3), none.view(0, 2), none).item() == 0
    vertices = torch.randn(3, 3, generator=torch.Generator().manual_seed(0), requires_grad=True)
    loss = edge_length_loss(vertices, none.view(0, 2), torch.tensor([3]))
    loss.backward()
    assert (loss.item(), vertices.grad.any().item()) == (0, False)


def test_bad_input():
    first = surface(0, 4, [4])
    with pytest.raises(InputError, match=r"true.normals must have shape \(1, 4, 3\)"):
        chamfer_and_normal_losses(first, first._replace(normals=first.normals[:, 1:]))
    with pytest.raises(InputError, match=r"edges must have shape \(E, 2\)"):
        edge_length_loss(torch.zeros(4, 3), torch.zeros(4, 3, dtype=torch.int64), torch.tensor([4]))
