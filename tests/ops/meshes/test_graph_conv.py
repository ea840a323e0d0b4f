"""`GraphConv` against a dense adjacency matrix."""

import numpy as np
import pytest
import torch

from detkit.errors import InputError
from detkit.ops.meshes import GraphConv

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]


def graph(seed, vertices=12, edges=20):
    generator = torch.Generator().manual_seed(seed)
    pairs = torch.triu_indices(vertices, vertices, 1).T
    return pairs[torch.randperm(len(pairs), generator=generator)[:edges]], generator


def layer(generator, channels=(5, 7), dtype=torch.float64):
    convolution = GraphConv(*channels).to(dtype)
    for parameter in convolution.parameters():
        parameter.data.normal_(generator=generator)
    return convolution


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_a_dense_adjacency_matrix(seed):
    edges, generator = graph(seed)
    convolution = layer(generator)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    adjacency = np.zeros((12, 12))
    for start, end in edges.tolist():
        adjacency[start, end] = adjacency[end, start] = 1
    w0, b0, w1, b1 = (parameter.detach().numpy() for parameter in convolution.parameters())
    expected = features.numpy() @ w0.T + b0 + adjacency @ (features.numpy() @ w1.T + b1)
    np.testing.assert_allclose(convolution(features, edges).detach().numpy(), expected, rtol=1e-10, atol=1e-12)


def test_gradcheck():
    edges, generator = graph(3, vertices=5, edges=6)
    convolution = layer(generator, (2, 3))
    features = torch.randn(5, 2, generator=generator, dtype=torch.float64, requires_grad=True)
    arguments = (features, *convolution.parameters())
    assert torch.autograd.gradcheck(lambda f, *_: convolution(f, edges), arguments)
    assert torch.autograd.gradgradcheck(lambda f, *_: convolution(f, edges).tanh(), arguments)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_a_sum_over_the_ends_of_edges(seed):
    edges, generator = graph(seed, vertices=90, edges=400)
    convolution = layer(generator, (33, 16), torch.float32)
    features = torch.randn(90, 33, generator=generator, requires_grad=True)
    start, end = torch.cat([edges, edges.flip(1)]).unbind(1)
    expected = convolution.w0(features).index_add(0, start, convolution.w1(features)[end])
    weight = torch.randn(90, 16, generator=generator)
    results = [
        (one, *torch.autograd.grad((one * weight).sum(), features)) for one in (convolution(features, edges), expected)
    ]
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("seed", SEEDS)
def test_the_order_of_vertices_and_edges_does_not_matter(seed):
    edges, generator = graph(seed)
    convolution = layer(generator)
    features = torch.randn(12, 5, generator=generator, dtype=torch.float64)
    order = torch.randperm(12, generator=generator)  # the new vertex i is the old order[i]
    moved = order.argsort()[edges].flip(0, 1)
    torch.testing.assert_close(convolution(features[order], moved), convolution(features, edges)[order])


def test_autocast_sums_in_float32():
    # 3,000 neighbors of 1 each: bfloat16 would stop at 256, as 256 + 1 rounds to 256.
    convolution = GraphConv(1, 1)
    for parameter in convolution.parameters():
        parameter.data.fill_(0.0)
    convolution.w1.weight.data.fill_(1.0)
    hub = torch.stack([torch.zeros(3000, dtype=torch.int64), torch.arange(1, 3001)], dim=1)
    with torch.autocast("cpu", torch.bfloat16):
        result = convolution(torch.ones(3001, 1), hub)
    assert result.dtype == torch.bfloat16
    assert result[0].item() == torch.tensor(3000.0).bfloat16().item()


def test_without_edges_or_vertices():
    convolution = GraphConv(2, 3)
    none = torch.zeros(0, 2, dtype=torch.int64)
    features = torch.randn(4, 2, generator=torch.Generator().manual_seed(0))
    assert torch.equal(convolution(features, none), convolution.w0(features))
    assert convolution(torch.zeros(0, 2), none).shape == (0, 3)


def test_starts_as_pytorch3d_does():
    torch.manual_seed(0)
    convolution = GraphConv(100, 100)
    assert list(convolution.state_dict()) == ["w0.weight", "w0.bias", "w1.weight", "w1.bias"]
    for linear in (convolution.w0, convolution.w1):
        assert linear.weight.std().item() == pytest.approx(0.01, rel=0.05)
        assert not linear.bias.any()


def test_bad_input():
    with pytest.raises(InputError, match=r"features must have shape \(V, 2\)"):
        GraphConv(2, 3)(torch.zeros(4, 3), torch.zeros(0, 2, dtype=torch.int64))
    with pytest.raises(InputError, match=r"edges must have shape \(E, 2\)"):
        GraphConv(2, 3)(torch.zeros(4, 2), torch.zeros(2, 5, dtype=torch.int64))
