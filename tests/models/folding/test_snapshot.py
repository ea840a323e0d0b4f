"""Weights that changed are seen, also where torch does not count the change."""

import pytest
import torch
from torch import nn

from detkit.models.folding.snapshot import Snapshot, samples

SHAPES = [(8,), (8, 1, 3, 3), (64, 256, 1, 1), (256, 64, 1, 1), (256, 128, 3, 3), (6, 512, 3, 3), (1, 256, 3, 3)]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=["nchw", "nhwc"])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_samples_are_few_and_in_every_filter_and_every_channel(shape, layout):
    weight = torch.zeros(shape)
    weight = weight.to(memory_format=layout) if weight.ndim == 4 else weight
    view = samples(weight)
    assert view.numel() <= max(2 * weight[:1].numel() + 32, 33 * len(weight))
    view.fill_(1)
    assert weight.reshape(len(weight), -1).any(dim=1).all()
    if weight.ndim == 4:
        assert weight.transpose(0, 1).flatten(1).any(dim=1).all()


def test_gaps_are_looked_at_whole():
    weight = torch.zeros(8, 64, 3, 3)[:, ::2]
    assert samples(weight).shape == weight.shape


CHANGES = {
    "counted": lambda weight: weight.add_(1),
    "a filter": lambda weight: weight.data[5].mul_(-1),
    "an order of channels": lambda weight: weight.data.copy_(weight.data.flip(1)),
    "NumPy": lambda weight: weight.numpy().fill(0.5),
    "another memory": lambda weight: weight.set_(weight.clone()),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("shape", [(8, 3, 3, 3), (16, 64, 3, 3)], ids=str)
def test_changes_are_seen(change, shape):
    torch.manual_seed(0)
    weight, other = torch.randn(shape), torch.randn(4)
    snapshot = Snapshot.of([weight, other])
    assert snapshot.is_of([weight, other])
    change(weight)
    assert not snapshot.is_of([weight, other])


def test_every_value_of_statistics_counts():
    means = torch.zeros(300)
    snapshot = Snapshot.of([means])
    means.numpy()[[17]] = 1e-30
    assert not snapshot.is_of([means])


def test_tensors_without_a_version_have_no_snapshot():
    with torch.inference_mode():
        weight = torch.ones(3)
    assert Snapshot.of([weight]) is None
    assert not Snapshot.of([torch.ones(3)]).is_of([weight])


def test_views_follow_the_memory_of_parameters():
    weight = nn.Parameter(torch.randn(4, 40, 3, 3))
    snapshot = Snapshot.of([weight])
    assert not any(view.requires_grad for view in snapshot.views)
    weight.data[3] = 0
    assert not snapshot.is_of([weight])
