"""Grad-CAM against the case that has a formula, and of detections against gradients written out."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.visualization import grad_cam


class PooledNet(nn.Module):
    """A trunk, the mean over its map, one linear layer: the net of CAM (Zhou 2016)."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Sequential(nn.Conv2d(3, 5, 3, 2), nn.ReLU(inplace=True), nn.Conv2d(5, 4, 3, padding=1))
        self.norm, self.classes = nn.BatchNorm2d(4), nn.Linear(4, 3)

    def forward(self, x):
        return self.classes(self.features(x).mean(dim=(2, 3)))

    def features(self, x):
        return F.relu(self.norm(self.trunk(x)), inplace=True)


@pytest.mark.parametrize("frozen", [False, True])
def test_of_a_pooled_net_it_is_the_class_activation_map(frozen):
    torch.manual_seed(0)
    net, image = PooledNet(), torch.rand(1, 3, 21, 16)
    net.relu = nn.ReLU()  # a module, so that the map has a name
    net.features = lambda x: net.relu(net.norm(net.trunk(x)))
    net.requires_grad_(not frozen)
    for label in range(3):
        cam = grad_cam(net, "relu", lambda label=label: net(image)[0, label], image.shape[-2:])
        with torch.no_grad():
            maps = net.eval().features(image)[0]
        expected = torch.einsum("k,khw->hw", net.classes.weight[label].detach(), maps) / maps[0].numel()
        torch.testing.assert_close(cam, expected.clamp(min=0))
        net.train()
    assert all(parameter.grad is None for parameter in net.parameters())


def test_equations_1_and_2_in_a_layer_followed_by_one_that_works_in_place():
    torch.manual_seed(1)
    net, image = PooledNet().eval(), torch.rand(1, 3, 15, 15)
    cam = grad_cam(net, "trunk.0", lambda: net(image)[0, 1], image.shape[-2:])
    maps = net.trunk[0](image).detach().requires_grad_()
    score = net.classes(F.relu(net.norm(net.trunk[2](F.relu(maps)))).mean(dim=(2, 3)))[0, 1]
    (gradient,) = torch.autograd.grad(score, maps)
    weights = gradient[0].mean(dim=(1, 2))
    torch.testing.assert_close(cam, (weights[:, None, None] * maps[0].detach()).sum(dim=0).clamp(min=0))


def test_a_score_under_no_grad_has_gradients_and_numpy():
    net, image = nn.Sequential(nn.Conv2d(3, 2, 1)), torch.rand(1, 3, 4, 4)

    def score():
        maps = net(image)
        with torch.no_grad():
            maps.mean().reshape(1).numpy()
            return maps.square().mean()

    assert grad_cam(net, "0", score, (4, 4)).shape == (4, 4)
    assert torch.is_grad_enabled()
    with torch.no_grad():
        assert grad_cam(net, "0", score, (4, 4)).shape == (4, 4)
        assert not torch.is_grad_enabled()


def test_a_score_without_a_gradient():
    net, image = nn.Sequential(nn.Conv2d(3, 2, 1)), torch.rand(1, 3, 4, 4)
    with pytest.raises(InputError, match=r"the score has no gradient at layer '0'"):
        grad_cam(net, "0", lambda: net(image).detach().sum(), (4, 4))
