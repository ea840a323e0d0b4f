"""`PointClouds` against lists of tensors: packing, selection, splitting, and what is refused."""

from __future__ import annotations

import pickle
import secrets

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.structures import PointClouds

SEEDS = [0, 1, pytest.param(secrets.randbits(32), id="fresh")]


def _random(seed: int, sizes=(7, 0, 4, 12)) -> list[torch.Tensor]:
    random = np.random.default_rng(seed)
    return [torch.from_numpy(random.normal(size=(count, 3))).float() for count in sizes]


def _same(clouds: PointClouds, points: list[torch.Tensor]) -> None:
    assert len(clouds) == len(points)
    for have, want in zip(clouds.points_list(), points, strict=True):
        assert torch.equal(have, want)


@pytest.mark.parametrize("seed", SEEDS)
def test_points_are_packed_one_object_after_the_other(seed):
    points = _random(seed)
    clouds = PointClouds(points)
    _same(clouds, points)
    assert torch.equal(clouds.points, torch.cat(points))
    assert clouds.objects.tolist() == [0] * 7 + [2] * 4 + [3] * 12
    _same(pickle.loads(pickle.dumps(clouds)), points)
    assert repr(clouds) == "PointClouds(4 objects, 23 points)"


@pytest.mark.parametrize(
    "index",
    [0, -1, slice(1, 3), slice(None, None, -1), [3, 0, 0], [], torch.tensor([2, 3]), torch.tensor([True, False] * 2)],
    ids=str,
)
def test_an_index_selects_objects(index):
    points = _random(0)
    numbers = np.atleast_1d(np.arange(4)[np.asarray(index, dtype=int) if index == [] else index])
    _same(PointClouds(points)[index], [points[number] for number in numbers])


@pytest.mark.parametrize("index", [4, -5, [4], torch.tensor([True])])
def test_an_index_out_of_range_is_an_error(index):
    with pytest.raises(IndexError):
        PointClouds(_random(0))[index]


@pytest.mark.parametrize("counts", [(4,), (1, 3), (0, 2, 0, 2, 0), (1, 1, 1, 1)])
def test_parts_are_the_objects_of_the_images_of_a_batch(counts):
    points = _random(3)
    parts = PointClouds(points).split(counts)
    assert [len(part) for part in parts] == list(counts)
    _same(PointClouds.cat(parts), points)
    starts = np.cumsum([0, *counts])
    for part, start, end in zip(parts, starts[:-1], starts[1:], strict=True):
        _same(part, points[start:end])


def test_no_objects_and_no_parts_are_clouds():
    assert len(PointClouds([])) == len(PointClouds.cat([])) == 0
    assert PointClouds([]).points.shape == (0, 3)


def test_other_points_and_dtypes():
    clouds = PointClouds(_random(0))
    assert torch.equal(clouds.with_points(2 * clouds.points).points, 2 * clouds.points)
    assert clouds.to("cpu", torch.float64).points.dtype == torch.float64
    with pytest.raises(InputError, match=r"the new ones are \(1, 3\), those of the objects \(23, 3\)"):
        clouds.with_points(clouds.points[:1])


@pytest.mark.parametrize(
    ("points", "message"),
    [
        ([torch.zeros(2, 3), torch.zeros(3)], r"points 1 must be \(P, 3\) floats, not \(3,\) torch.float32"),
        ([torch.zeros(2, 3, dtype=torch.int64)], r"points 0 must be .* not \(2, 3\) torch.int64"),
        ([torch.zeros(2, 3), torch.zeros(2, 3).double()], "bring all to one dtype and device"),
        ([torch.zeros(2, 3), torch.tensor([[0, 0, 0], [0, torch.nan, 1]])], "points 1: point 1 has a coordinate"),
    ],
)
def test_what_is_no_point_is_named(points, message):
    with pytest.raises(InputError, match=message):
        PointClouds(points)


def test_clouds_of_several_dtypes_are_not_joined():
    with pytest.raises(InputError, match=r"points of torch\.float32 on cpu, torch\.float64 on cpu"):
        PointClouds.cat([PointClouds(_random(0)), PointClouds(_random(0)).to(dtype=torch.float64)])
