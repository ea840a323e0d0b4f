"""Layers of one's own: what they read, how they choose their path, and what they are when compiled."""

import pytest
import torch
from torch import nn

from detkit.models.folding import folded
from detkit.models.folding.norm_pairs import is_norm


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.convolution = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.skips = False
        self.norm.running_mean.uniform_(-1, 1)
        self.norm.running_var.uniform_(0.5, 2)
        self.eval()

    def forward(self, x):
        return self.norm(self.convolution(x))


class ReadsWeight(Block):
    def forward(self, x):
        return super().forward(x) + torch.conv2d(x, self.convolution.weight, padding=1)


class ReadsStatistics(Block):
    def forward(self, x):
        return super().forward(x) * self.norm.running_mean.mean()


class ReadsAttributes(Block):
    def forward(self, x):
        x = x.to(self.convolution.weight.dtype)
        return super().forward(x) / self.norm.num_features + self.norm.eps


class Skips(Block):
    def forward(self, x):
        return self.convolution(x) if self.skips else super().forward(x)


class Draws(Block):
    def forward(self, x):
        return super().forward(x) * torch.rand(1)


def norms(net):
    return sum(is_norm(module) for module in net.modules())


def same(copied, net):
    x = torch.rand(2, 3, 9, 8)
    with torch.inference_mode():
        torch.testing.assert_close(copied(x), net(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", [ReadsWeight, ReadsStatistics])
def test_a_pair_whose_tensors_are_read_stays(kind):
    net = kind()
    same(folded(net), net)
    assert norms(folded(net)) == 1


def test_attributes_of_a_folded_norm_can_be_read():
    net = ReadsAttributes()
    same(folded(net), net)
    assert norms(folded(net)) == 0
    assert not [name for name in folded(net).state_dict() if name.startswith("norm.")]


def test_a_switch_is_seen():
    net = Skips()
    for skips in (False, True, False):
        net.skips = skips
        same(folded(net), net)
        assert norms(folded(net)) == skips


def test_the_numbers_of_batch_norm_are_seen():
    net = Block()
    same(folded(net), net)
    net.norm.eps = 0.5
    same(folded(net), net)


def test_the_random_numbers_of_the_caller_stay():
    net = Draws()
    torch.manual_seed(3)
    expected = torch.rand(2)
    torch.manual_seed(3)
    folded(net)
    assert torch.equal(torch.rand(2), expected)


@pytest.mark.parametrize("compiled", [lambda net: net.compile() or net, torch.compile], ids=["in place", "wrapped"])
def test_what_is_compiled_stays(compiled):
    net = nn.Sequential(compiled(Block()), nn.Conv2d(8, 3, 1), Block()).eval()
    copied = folded(net)
    assert copied[0] is net[0]
    assert norms(copied) == 1


def test_models_without_values_stay():
    net = Block().to("meta")
    assert folded(net) is net


def test_tensors_made_in_inference_mode():
    with torch.inference_mode():
        net = Block()
        same(folded(net), net)
        net.norm.running_mean.add_(1)
        same(folded(net), net)
    assert norms(folded(net)) == 0
