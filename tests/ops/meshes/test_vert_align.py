"""`vert_align` against `grid_sample`."""

import pytest
import torch
import torch.nn.functional as F

from detkit.errors import InputError
from detkit.ops.meshes import vert_align

SEEDS = [0, 1, pytest.param(torch.seed() % 2**31, id="fresh")]
COUNTS = [5, 0, 9]


def inputs(seed, dtype=torch.float64, height=4, width=6):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(3, 2, height, width, generator=generator, dtype=dtype)
    locations = torch.rand(sum(COUNTS), 2, generator=generator, dtype=dtype) * 2.6 - 1.3  # some outside
    index = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))
    return features, locations, index


def grid_sampled(features, locations):
    """Object by object."""
    rows = [
        F.grid_sample(own[None], places[None, None], padding_mode="border", align_corners=True)[0, :, 0].T
        for own, places in zip(features, locations.split(COUNTS), strict=True)
    ]
    return torch.cat(rows)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("size", [(4, 6), (1, 3), (7, 1)], ids=str)
def test_equals_grid_sample_with_its_gradients(seed, size):
    features, locations, index = inputs(seed, height=size[0], width=size[1])
    locations[0], locations[1], locations[2] = torch.tensor([[-1.0, 1], [1, -1], [0, 0]])  # borders
    weight = torch.randn(len(locations), 2, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    results = []
    for operation in (lambda f, p: vert_align(f, p, index), grid_sampled):
        f, p = features.clone().requires_grad_(), locations.clone().requires_grad_()
        aligned = operation(f, p)
        results.append((aligned, *torch.autograd.grad((aligned * weight).sum(), (f, p))))
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_gradcheck():
    features, locations, index = inputs(2)
    arguments = features.requires_grad_(), locations.requires_grad_(), index
    assert torch.autograd.gradcheck(vert_align, arguments)


def test_half_precision_is_computed_in_float32():
    features, locations, index = inputs(3, torch.float32)
    aligned = vert_align(features.half(), locations, index)
    assert aligned.dtype == torch.float16
    assert torch.equal(aligned, vert_align(features.half().float(), locations, index).half())


def test_nan_stays():
    features, locations, index = inputs(4)
    locations[3, 0] = float("nan")
    assert vert_align(features, locations, index).isnan().any(1).nonzero().flatten().tolist() == [3]


def test_no_vertices():
    aligned = vert_align(torch.zeros(0, 5, 3, 3), torch.zeros(0, 2), torch.zeros(0, dtype=torch.int64))
    assert aligned.shape == (0, 5)


def test_bad_input():
    features, locations, index = inputs(0)
    with pytest.raises(InputError, match=r"locations must have shape \(V, 2\)"):
        vert_align(features, torch.zeros(14, 3), index)
    with pytest.raises(InputError, match=r"image_index must have shape \(14,\)"):
        vert_align(features, locations, index[1:])
