"""Refinement and its losses in float64: gradients against differences, and what does not depend on the batch."""

from __future__ import annotations

import secrets

import pytest
import torch
from torch import nn

from detkit.heads.region.mesh import shape_losses as losses_module
from detkit.heads.region.mesh.refinement import Aligned, MeshRefinement
from detkit.heads.region.mesh.shape_losses import generator_on, shape_losses
from detkit.ops.meshes import SurfacePoints, vert_align
from detkit.structures import Meshes
from detkit.structures.meshes import icosphere

SEEDS = [0, 1, pytest.param(secrets.randbits(31), id="fresh")]


def _refinement(seed: int, **options) -> MeshRefinement:
    generator = torch.Generator().manual_seed(seed)
    refinement = MeshRefinement(3, channels=4, stages=2, convolutions=2, **options).double()
    for parameter in refinement.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64)
    return refinement


def _meshes(seed: int) -> Meshes:
    generator = torch.Generator().manual_seed(seed)
    sphere, none = icosphere(0).to(dtype=torch.float64), torch.zeros(0, 3, dtype=torch.float64)
    moved = [0.5 * sphere.vertices + 0.1 * torch.randn(12, 3, generator=generator).double() for _ in range(2)]
    return Meshes([moved[0], none, moved[1]], [sphere.faces, none.long(), sphere.faces])


def _refined(refinement: MeshRefinement, features: torch.Tensor, meshes: Meshes) -> list[Meshes]:
    def align(own: Meshes, layer: nn.Linear) -> Aligned:
        return Aligned(layer(vert_align(features, own.vertices[:, :2], own.topology.vertex_objects)), own.vertices)

    return refinement(meshes, align)


@pytest.mark.parametrize("subdivide", [False, True])
@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_are_those_of_differences(seed, subdivide):
    """With respect to the features, all weights and the vertices; a kink of ReLU or of a pixel may lie in a step."""
    refinement, meshes = _refinement(seed, subdivide=subdivide), _meshes(seed)
    features = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    weights = [*refinement.parameters(), features.requires_grad_(), meshes.vertices.requires_grad_()]
    directions = [
        torch.randn(one.shape, generator=torch.Generator().manual_seed(seed), dtype=one.dtype) for one in weights
    ]

    def value() -> torch.Tensor:
        last = _refined(refinement, features, meshes)[-1].vertices
        return (last * torch.linspace(-1, 1, last.numel(), dtype=last.dtype).view_as(last)).sum()

    gradients = torch.autograd.grad(value(), weights)
    step = 1e-7
    for weight, direction, gradient in zip(weights, directions, gradients, strict=True):
        with torch.no_grad():
            ends = []
            for sign in (1, -1):
                weight += sign * step * direction
                ends.append(value())
                weight -= sign * step * direction
        expected = (ends[0] - ends[1]) / (2 * step)
        assert float((gradient * direction).sum()) == pytest.approx(float(expected), rel=1e-4, abs=1e-6)


@pytest.mark.parametrize("seed", SEEDS)
def test_objects_do_not_depend_on_others(seed):
    refinement, meshes = _refinement(seed), _meshes(seed)
    features = torch.randn(3, 3, 4, 4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    together = _refined(refinement, features, meshes)[-1]
    for number in range(3):
        alone = _refined(refinement, features[number : number + 1], meshes[number])[-1]
        assert torch.allclose(alone.vertices, together[number].vertices, atol=1e-12)


def _corners(meshes: Meshes, number: int, generator: torch.Generator | None = None) -> SurfacePoints:
    """Vertices in place of random points, which depend on the other objects; those of no faces are points of none."""
    points, normals = torch.zeros(2, len(meshes), number, 3, dtype=meshes.vertices.dtype)
    for row, (vertices, faces) in enumerate(zip(meshes.vertices_list(), meshes.faces_list(), strict=True)):
        if len(faces):
            points[row] = vertices[faces[torch.arange(number) % len(faces), torch.arange(number) % 3]]
            normals[row] = nn.functional.normalize(points[row] - vertices.mean(dim=0), dim=1)
    return SurfacePoints(points, normals, (meshes.face_counts > 0).long() * number)


@pytest.mark.parametrize("seed", SEEDS)
def test_losses_are_means_over_the_objects_that_have_surfaces(seed, monkeypatch):
    """An object without faces counts for edges alone, as in PyTorch3D."""
    monkeypatch.setattr(Meshes, "sample_points", _corners)
    meshes, truth = _meshes(seed), _meshes(seed + 1)
    own = shape_losses([meshes], truth.sample_points(40), 30)
    fewer = shape_losses([meshes[[0, 2]]], truth[[0, 2]].sample_points(40), 30)
    twice = shape_losses([meshes, meshes], truth.sample_points(40), 30)
    for name, share in (("chamfer", 1), ("normals", 1), ("edge", 2 / 3)):
        assert float(own[name]) > 0
        assert float(own[name]) == pytest.approx(share * float(fewer[name]), rel=1e-9)
        assert float(twice[name]) == pytest.approx(2 * float(own[name]), rel=1e-9)


def test_without_objects_losses_are_zero_and_attached():
    none = torch.zeros(0, 3, requires_grad=True)
    meshes = Meshes.of(none, Meshes([], []).topology)
    losses = shape_losses([meshes], Meshes([], []).sample_points(10), 10)
    assert {name: float(loss.detach()) for name, loss in losses.items()} == {"chamfer": 0, "normals": 0, "edge": 0}
    sum(losses.values()).backward()
    assert none.grad is not None


def test_a_generator_of_another_device_seeds_one(monkeypatch):
    made = []

    class Generator:
        def __init__(self, device):
            made.append(device)

        def manual_seed(self, seed):
            return self.device, seed

        device = "there"

    generator = torch.Generator().manual_seed(3)
    assert generator_on(torch.device("cpu"), generator) is generator
    assert generator_on(torch.device("cpu"), None) is None
    monkeypatch.setattr(losses_module.torch, "Generator", Generator)
    first, second = (generator_on(torch.device("cuda"), generator) for _ in range(2))
    assert first[1] != second[1]
    assert made == [torch.device("cuda")] * 2
