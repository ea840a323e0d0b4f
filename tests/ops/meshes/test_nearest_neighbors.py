"""`nearest_neighbors` against scipy's k-d tree and the gradients of `torch.cdist`."""

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree

from detkit.errors import InputError
from detkit.ops.meshes import nearest_neighbors

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]


def clouds(seed, queries=9, points=13, counts=(13, 4, 0), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(len(counts), queries, 3, generator=generator, dtype=dtype)
    second = torch.randn(len(counts), points, 3, generator=generator, dtype=dtype)
    return first, second, torch.tensor(counts)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("block", [1, 7, 40, 2**22])
def test_equals_a_k_d_tree(seed, block):
    queries, points, counts = clouds(seed)
    distances, indices = nearest_neighbors(queries, points, counts, block)
    for index, count in enumerate(counts[:2].tolist()):
        expected, rows = cKDTree(points[index, :count].numpy()).query(queries[index].numpy())
        np.testing.assert_array_equal(indices[index].numpy(), rows)
        np.testing.assert_allclose(distances[index].numpy(), expected**2, rtol=1e-12)
    assert (indices[2] == -1).all()
    assert distances[2].isposinf().all()


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_are_those_of_cdist(seed):
    queries, points, counts = clouds(seed)
    weight = torch.rand(2, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradients = []
    for use_cdist in (False, True):
        first, second = queries.clone().requires_grad_(), points.clone().requires_grad_()
        if use_cdist:
            rows = [torch.cdist(first[i], second[i, : counts[i]]).square().min(1).values for i in range(2)]
            distances = torch.stack(rows)
        else:
            distances = nearest_neighbors(first, second, counts, 20).squared_distances[:2]
        gradients.append(torch.autograd.grad((distances * weight).sum(), (first, second)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_near_points_far_from_the_origin_keep_their_digits():
    # In float32 |a|^2 + |b|^2 - 2 a b of these is off by more than the distances themselves.
    points = torch.tensor([[[1000.0, 1000, 1000], [1000.25, 1000, 1000], [1000.5, 1000, 1000]]])
    distances, indices = nearest_neighbors(points + torch.tensor([0.0625, 0, 0]), points, torch.tensor([3]))
    assert indices.tolist() == [[0, 1, 2]]
    assert distances.tolist() == [[0.0625**2] * 3]


def test_holds_no_matrix_of_all_distances(monkeypatch):
    sizes, cdist = [], torch.cdist
    monkeypatch.setattr(torch, "cdist", lambda *a, **k: sizes.append((made := cdist(*a, **k)).numel()) or made)
    queries, points, counts = clouds(0, queries=300, points=200, counts=(200, 100))
    nearest_neighbors(queries, points, counts, 5000)
    assert max(sizes) <= 5000
    assert sum(sizes) == 2 * 300 * 200


def test_half_precision_is_computed_in_float32():
    queries, points, counts = clouds(0, dtype=torch.float16)
    distances, _ = nearest_neighbors(queries, points, counts)
    assert distances.dtype == torch.float32
    assert torch.equal(distances, nearest_neighbors(queries.float(), points.float(), counts).squared_distances)


def test_nan_queries_stay_nan():
    queries, points, counts = clouds(0)
    queries[0, 2, 1] = float("nan")
    assert nearest_neighbors(queries, points, counts).squared_distances.isnan().nonzero().tolist() == [[0, 2]]


@pytest.mark.parametrize(("number", "queries", "points"), [(0, 3, 4), (2, 0, 4), (2, 3, 0)], ids=str)
def test_empty(number, queries, points):
    counts = torch.zeros(number, dtype=torch.int64)
    found = nearest_neighbors(torch.zeros(number, queries, 3), torch.zeros(number, points, 3), counts)
    assert found.squared_distances.shape == found.indices.shape == (number, queries)
    assert (found.indices == -1).all()


def test_bad_input():
    with pytest.raises(InputError, match=r"points must have shape \(2, Q, 3\), got \(1, 4, 3\)"):
        nearest_neighbors(torch.zeros(2, 3, 3), torch.zeros(1, 4, 3), torch.tensor([4, 4]))
