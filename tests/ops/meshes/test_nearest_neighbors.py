"""`nearest_neighbors` against scipy's k-d tree, all distances in float64, and the gradients of `torch.cdist`."""

import resource

import numpy as np
import pytest
import torch
from scipy.spatial import cKDTree
from torch.utils._python_dispatch import TorchDispatchMode

from detkit.errors import InputError
from detkit.ops.meshes import nearest_neighbors
from detkit.ops.meshes.nearest_neighbors import nearest_neighbors_reference
from detkit.testing import imitated_device

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]
NAN, INF = float("nan"), float("inf")
# Around a chunk of 64 queries on the CPU, a block of 128 and a tile of 256 points on CUDA.
SIZES = [(1, 1), (63, 255), (64, 256), (65, 257), (129, 600), (300, 7)]


def clouds(seed, queries=9, points=13, counts=(13, 4, 0), dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(len(counts), queries, 3, generator=generator, dtype=dtype)
    second = torch.randn(len(counts), points, 3, generator=generator, dtype=dtype)
    return first, second, torch.tensor(counts)


def sphere(points):
    return points / points.norm(dim=-1, keepdim=True)


ODD_CLOUDS = {
    "all equal": lambda queries, points: (queries * 0 + 1, points * 0),
    "one query often": lambda queries, points: (queries[:, :1].expand_as(queries), points),
    "one point often": lambda queries, points: (queries, points[:, :1].expand_as(points)),
    "on a line": lambda queries, points: (queries * torch.tensor([1, 0, 0]), points * torch.tensor([1, 0, 0])),
    "on a grid": lambda queries, points: ((queries * 2).round(), (points * 2).round()),
    "outliers": lambda queries, points: (
        queries.index_fill(1, torch.tensor([1]), 1e9),
        points.index_fill(1, torch.tensor([0]), -1e9),
    ),
    "a sphere and its center": lambda queries, points: (queries * 1e-3, sphere(points)),
    "two spheres": lambda queries, points: (sphere(queries), 2 * sphere(points)),
    "far apart": lambda queries, points: (queries, points + 1000),
    "tiny": lambda queries, points: (queries * 1e-15, points * 1e-15),
    "huge": lambda queries, points: (queries * 1e15, points * 1e15),
}


def least_distances(queries, points, counts):
    """Of all pairs in float64, ``(N, P)``."""
    distances = (queries.double()[:, :, None] - points.double()[:, None]).square().sum(-1)
    padding = torch.arange(points.shape[1]) >= counts[:, None]
    return distances.masked_fill(padding[:, None], INF).amin(2)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_a_k_d_tree(implementation, seed):
    queries, points, counts = clouds(seed)
    distances, indices = nearest_neighbors(queries, points, counts)
    for index, count in enumerate(counts[:2].tolist()):
        expected, rows = cKDTree(points[index, :count].numpy()).query(queries[index].numpy())
        np.testing.assert_array_equal(indices[index].numpy(), rows)
        np.testing.assert_allclose(distances[index].numpy(), expected**2, rtol=1e-12)
    assert (indices[2] == -1).all()
    assert distances[2].isposinf().all()


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("shape", ODD_CLOUDS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_no_point_is_nearer_by_more_than_rounding(implementation, dtype, shape, seed):
    queries, points, counts = clouds(seed, 90, 300, (300, 299), dtype)
    queries, points = ODD_CLOUDS[shape](queries, points)
    distances, indices = nearest_neighbors(queries, points, counts)
    assert (indices < counts[:, None]).all()
    chosen = points.double().gather(1, indices[..., None].expand(-1, -1, 3))
    true = (queries.double() - chosen).square().sum(-1)
    tolerance = {"rtol": 1e-6 if dtype == torch.float32 else 1e-15, "atol": 0}
    torch.testing.assert_close(true, least_distances(queries, points, counts), **tolerance)
    torch.testing.assert_close(distances.double(), true, **tolerance)


@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("seed", SEEDS)
def test_kernel_and_plain_torch_find_the_same(native, seed, dtype, sizes):
    queries, points, _ = clouds(seed, *sizes, (0,) * 5, dtype)
    counts = torch.tensor([sizes[1], sizes[1] // 2, 0, -3, 2**40])
    found = nearest_neighbors(queries, points, counts).indices
    for block in (1000, 2**22):
        assert torch.equal(found, nearest_neighbors_reference(queries, points, counts, block))


@pytest.mark.parametrize("block", [1, 7, 40, 2**22])
def test_any_block_of_plain_torch_finds_the_same(block):
    queries, points, counts = clouds(0)
    expected = nearest_neighbors_reference(queries, points, counts)
    assert torch.equal(nearest_neighbors_reference(queries, points, counts, block), expected)


@pytest.mark.parametrize("threads", [1, 2])
def test_strides_and_threads_do_not_matter(native, threads):
    queries, points, counts = clouds(3, 700, 900, (900, 5, 0, 900), torch.float32)
    expected = nearest_neighbors(queries, points, counts)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    swapped = [cloud.transpose(0, 2).contiguous().transpose(0, 2) for cloud in (queries, points)]
    found = nearest_neighbors(*swapped, torch.stack([counts, counts], 1)[:, 0])
    torch.set_num_threads(before)
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize("seed", SEEDS)
def test_gradients_are_those_of_cdist(implementation, seed):
    queries, points, counts = clouds(seed)
    weight = torch.rand(2, 9, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    gradients = []
    for use_cdist in (False, True):
        first, second = queries.clone().requires_grad_(), points.clone().requires_grad_()
        if use_cdist:
            rows = [torch.cdist(first[i], second[i, : counts[i]]).square().min(1).values for i in range(2)]
            distances = torch.stack(rows)
        else:
            distances = nearest_neighbors(first, second, counts).squared_distances[:2]
        gradients.append(torch.autograd.grad((distances * weight).sum(), (first, second)))
    for ours, theirs in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_first_and_second_derivatives(implementation):
    queries, points, counts = clouds(5, 4, 6, (6, 2))
    inputs = queries.requires_grad_(), points.requires_grad_()

    def distances(first, second):
        return nearest_neighbors(first, second, counts).squared_distances

    assert torch.autograd.gradcheck(distances, inputs)
    assert torch.autograd.gradgradcheck(distances, inputs)


def test_near_points_far_from_the_origin_keep_their_digits(implementation):
    # In float32 |a|^2 + |b|^2 - 2 a b of these is off by more than the distances themselves.
    points = torch.tensor([[[1000.0, 1000, 1000], [1000.25, 1000, 1000], [1000.5, 1000, 1000]]])
    distances, indices = nearest_neighbors(points + torch.tensor([0.0625, 0, 0]), points, torch.tensor([3]))
    assert indices.tolist() == [[0, 1, 2]]
    assert distances.tolist() == [[0.0625**2] * 3]


def test_kernel_holds_no_matrix_of_all_distances(native):
    queries, points, counts = clouds(0, 20_000, 20_000, (20_000,), torch.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    nearest_neighbors(queries, points, counts)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000  # KiB; the matrix takes 1,560,000


class LargestTensor(TorchDispatchMode):
    """Notes the most elements of a result."""

    elements = 0

    def __torch_dispatch__(self, function, types, arguments=(), options=None):
        result = function(*arguments, **options or {})
        for tensor in result if isinstance(result, tuple | list) else [result]:
            self.elements = max(self.elements, tensor.numel())
        return result


def test_plain_torch_holds_no_more_than_a_block(monkeypatch):
    queries, points, counts = clouds(0, queries=300, points=200, counts=(200, 100))
    with LargestTensor() as largest:
        nearest_neighbors_reference(queries, points, counts, 5000)
    assert 2 * 300 * 3 < largest.elements <= 5000


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_half_precision_is_computed_in_float32(implementation, dtype):
    queries, points, counts = clouds(0, dtype=dtype)
    distances, _ = nearest_neighbors(queries, points, counts)
    assert distances.dtype == torch.float32
    assert torch.equal(distances, nearest_neighbors(queries.float(), points.float(), counts).squared_distances)


def test_one_cloud_in_float64_makes_both_so(implementation):
    queries, points, counts = clouds(0)
    found = nearest_neighbors(queries, points.float(), counts)
    assert torch.equal(
        found.squared_distances, nearest_neighbors(queries, points.float().double(), counts).squared_distances
    )


def test_queries_that_are_not_finite(implementation):
    queries, points, counts = clouds(0)
    queries[0, 2, 1], queries[0, 4, 0] = NAN, INF
    distances, indices = nearest_neighbors(queries, points, counts)
    assert distances.isnan().nonzero().tolist() == [[0, 2]]
    assert distances[:2].isposinf().nonzero().tolist() == [[0, 4]]
    assert indices[0, [2, 4]].tolist() == [0, 0]


@pytest.mark.parametrize("odd", [NAN, INF, -INF])
def test_points_that_are_not_finite_are_never_the_nearest(implementation, odd):
    queries, points, counts = clouds(0)
    expected = nearest_neighbors(queries, points[:, 1:], counts - 1)
    points[:, 0, 2] = odd
    distances, indices = nearest_neighbors(queries, points, counts)
    assert torch.equal(distances, expected.squared_distances)
    assert torch.equal(indices[:2], expected.indices[:2] + 1)
    points[0, :, 1] = odd
    distances, indices = nearest_neighbors(queries, points, counts)
    assert (indices[0] == 0).all()
    assert not distances[0].isfinite().any()


@pytest.mark.parametrize("seed", SEEDS)
def test_odd_numbers_are_alike_in_kernel_and_plain_torch(native, seed):
    odd = torch.tensor([NAN, INF, -INF, 3e38, -3e38, 1e19, 1e-30, 1e-45, 0.0, -0.0, 1.0])
    generator = torch.Generator().manual_seed(seed)
    queries, points = (odd[torch.randint(11, (6, size, 3), generator=generator)] for size in (70, 300))
    counts = torch.tensor([300, 1, 2, 4, 9, 40])
    indices = nearest_neighbors(queries, points, counts).indices
    assert torch.equal(indices, nearest_neighbors_reference(queries, points, counts, 900))


@pytest.mark.parametrize(("number", "queries", "points"), [(0, 3, 4), (2, 0, 4), (2, 3, 0), (0, 0, 0)], ids=str)
def test_empty(implementation, number, queries, points):
    counts = torch.zeros(number, dtype=torch.int64)
    first = torch.zeros(number, queries, 3, requires_grad=True)
    found = nearest_neighbors(first, torch.zeros(number, points, 3), counts)
    assert found.squared_distances.shape == found.indices.shape == (number, queries)
    assert (found.indices == -1).all()
    found.squared_distances.sum().backward()
    assert not first.grad.any()


def test_waits_for_no_device(native):
    with imitated_device() as device:
        queries, points, counts = (tensor.to("cuda") for tensor in clouds(0))
        before = device.counted()
        found = nearest_neighbors(queries.requires_grad_(), points, counts)
        found.squared_distances.sum().backward()
        assert device.counted() == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"points": torch.zeros(1, 4, 3)}, r"points must have shape \(2, Q, 3\), got \(1, 4, 3\)"),
        ({"queries": torch.zeros(2, 3)}, r"queries must have shape \(N, P, 3\), got \(2, 3\)"),
        ({"point_counts": torch.tensor([4])}, r"point_counts must have shape \(2,\), got \(1,\)"),
        ({"point_counts": torch.tensor([4.0, 4])}, r"point_counts must be int64, got torch\.float32"),
        ({"points": torch.zeros(2, 4, 3).long()}, "points must be floating point"),
    ],
)
def test_bad_input(change, message):
    arguments = {"queries": torch.zeros(2, 3, 3), "points": torch.zeros(2, 4, 3), "point_counts": torch.tensor([4, 4])}
    with pytest.raises(InputError, match=message):
        nearest_neighbors(**arguments | change)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_operator_registration(native, dtype):
    torch.library.opcheck(torch.ops.detkit.nearest_neighbors.default, clouds(0, dtype=dtype))


def test_kernel_refuses_clouds_that_do_not_fit(native):
    queries, points, counts = clouds(0)
    for arguments in ((queries, points[:2], counts), (queries, points, counts[:2]), (queries, points.float(), counts)):
        with pytest.raises(RuntimeError, match=r"points must|point_counts must|must be of one dtype"):
            torch.ops.detkit.nearest_neighbors(*arguments)


@pytest.mark.gpu
@pytest.mark.parametrize("sizes", SIZES, ids=str)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_cuda_equals_cpu(cuda, dtype, sizes):
    queries, points, _ = clouds(0, *sizes, (0,) * 4, dtype)
    counts = torch.tensor([sizes[1], sizes[1] // 2, 0, 2**40])
    expected = nearest_neighbors(queries, points, counts)
    found = nearest_neighbors(queries.to(cuda), points.to(cuda), counts.to(cuda))
    for one, other in zip(found, expected, strict=True):
        assert torch.equal(one.cpu(), other)
