"""`voxelize_points` against a loop, and against the cells that `cubify` draws."""

import math

import pytest
import torch

from detkit.errors import InputError
from detkit.ops.meshes import cubify, voxelize_points

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]
SIZE = (4, 5, 6)
COUNTS = torch.tensor([40, 0, 300])


def looped(points):
    occupied = torch.zeros(SIZE, dtype=torch.bool)
    for point in points.tolist():
        cell = [math.floor((value + 1) / 2 * (n - 1)) for value, n in zip(reversed(point), SIZE, strict=True)]
        if all(0 <= index < n for index, n in zip(cell, SIZE, strict=True)):
            occupied[tuple(cell)] = True
    return occupied


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_a_loop(seed):
    generator = torch.Generator().manual_seed(seed)
    points = torch.rand(int(COUNTS.sum()), 3, generator=generator, dtype=torch.float64) * 3.4 - 1.5  # some outside
    result = voxelize_points(points, COUNTS, SIZE)
    assert result.dtype == torch.bool
    assert torch.equal(result, torch.stack([looped(own) for own in points.split(COUNTS.tolist())]))
    assert 0 < result[0].sum() < result[2].sum()
    assert torch.equal(
        voxelize_points(points.half(), COUNTS, SIZE), voxelize_points(points.half().double(), COUNTS, SIZE)
    )


@pytest.mark.parametrize("seed", SEEDS)
def test_points_in_the_cube_of_a_cell_mark_it(seed):
    generator = torch.Generator().manual_seed(seed)
    voxels = torch.zeros(10, *SIZE)
    cells = torch.stack([torch.randint(n, (10,), generator=generator) for n in SIZE])
    voxels[torch.arange(10), *cells] = 1
    cubes = cubify(voxels, 0.5).vertices.view(10, 8, 3).double()
    low, high = cubes.amin(1, keepdim=True), cubes.amax(1, keepdim=True)
    points = low + (high - low) * (0.001 + 0.998 * torch.rand(10, 20, 3, generator=generator, dtype=torch.float64))
    assert torch.equal(voxelize_points(points.view(-1, 3), torch.tensor([20] * 10), SIZE), voxels > 0)


def test_borders_of_cells_and_of_the_grid():
    rows = [
        [-1.0, -1, -1],
        [1, 1, 1],
        [2.5, 0, 0],
        [0, -1.01, 0],
        [math.nan, 0, 0],
        [0, 0, math.inf],
        [0, 0, -math.inf],
    ]
    result = voxelize_points(torch.tensor(rows), torch.tensor([7]), (3, 3, 3))[0]
    assert result.nonzero().tolist() == [[0, 0, 0], [2, 2, 2]]
    assert not voxelize_points(torch.tensor(rows[2:]), torch.tensor([5]), (3, 3, 3)).any()


def test_nothing():
    none = torch.zeros(0, dtype=torch.int64)
    assert voxelize_points(torch.zeros(0, 3), none, SIZE).shape == (0, *SIZE)
    assert not voxelize_points(torch.zeros(0, 3), torch.zeros_like(COUNTS), SIZE).any()


def test_bad_input():
    points = torch.zeros(3, 3)
    with pytest.raises(InputError, match=r"points must have shape \(P, 3\)"):
        voxelize_points(points[:, :2], torch.tensor([3]), SIZE)
    with pytest.raises(InputError, match="points must be floating point"):
        voxelize_points(points.long(), torch.tensor([3]), SIZE)
    with pytest.raises(InputError, match=r"size must be D, H and W of at least 2 each, got \(4, 5\)"):
        voxelize_points(points, torch.tensor([3]), SIZE[:2])
