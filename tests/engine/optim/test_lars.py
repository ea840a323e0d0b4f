"""LARS against the paper's equations, in float64."""

import copy

import pytest
import torch
from torch import nn

from detkit.engine.optim.lars import LARS
from detkit.errors import InputError


def _net(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 5)).double()


def _loss(net, seed):
    torch.manual_seed(seed)
    return net(torch.randn(6, 3, 8, 8, dtype=torch.float64)).square().mean()


def _papers_step(parameters, velocities, lr, momentum, decay, eta):
    """Algorithm 1 of You 2017, one layer after the other."""
    for w, v in zip(parameters, velocities, strict=True):
        g = w.grad
        if w.ndim > 1:
            local = eta * w.norm() / (g.norm() + decay * w.norm())
            v.copy_(momentum * v + lr * local * (g + decay * w))
        else:
            v.copy_(momentum * v + lr * g)
        w.data.sub_(v)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize(("momentum", "decay", "eta"), [(0.9, 1e-2, 1e-3), (0.0, 0.0, 0.02), (0.5, 0.3, 0.1)])
def test_steps_are_the_papers(seed, momentum, decay, eta):
    ours, theirs = (_net(seed) for _ in range(2))
    theirs_parameters = list(theirs.parameters())
    velocities = [torch.zeros_like(w) for w in theirs_parameters]
    optimizer = LARS(ours.parameters(), lr=1.0, momentum=momentum, weight_decay=decay, trust_coefficient=eta)
    for step in range(5):
        lr = 2.0 - 0.3 * step  # a schedule: the learning rate of each step stays with what it added
        optimizer.param_groups[0]["lr"] = lr
        for net in (ours, theirs):
            net.zero_grad()
            _loss(net, step).backward()
        optimizer.step()
        _papers_step(theirs_parameters, velocities, lr, momentum, decay, eta)
        for one, other in zip(ours.parameters(), theirs_parameters, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-13)


def test_a_step_by_hand():
    """|w| = 5, |g| = 1, so the local rate is 0.01 * 5 / (1 + 0.1 * 5) = 1/30, and w loses 2/30 of (0.9, 1.2)."""
    weight = nn.Parameter(torch.tensor([[3.0, 4.0]], dtype=torch.float64))
    bias = nn.Parameter(torch.tensor([3.0], dtype=torch.float64))
    weight.grad = torch.tensor([[0.6, 0.8]], dtype=torch.float64)
    bias.grad = torch.tensor([0.25], dtype=torch.float64)
    LARS([weight, bias], lr=2.0, weight_decay=0.1, trust_coefficient=0.01).step()
    assert weight.tolist() == [[pytest.approx(2.94), pytest.approx(3.92)]]
    assert bias.tolist() == [2.5]


@pytest.mark.parametrize(("weight", "gradient"), [(0.0, 0.5), (0.5, 0.0), (0.0, 0.0)])
def test_zeros_are_no_layers_end(weight, gradient):
    parameter = nn.Parameter(torch.full((2, 2), weight))
    parameter.grad = torch.full((2, 2), gradient)
    LARS([parameter], lr=0.1, weight_decay=0.2).step()
    expected = weight - 0.1 * (gradient + 0.2 * weight)
    torch.testing.assert_close(parameter.data, torch.full((2, 2), expected))


def test_each_group_has_its_own_numbers():
    net = _net(3)
    before = copy.deepcopy(net)
    groups = [{"params": [net[0].weight], "lr": 0.0}, {"params": [net[3].weight], "trust_coefficient": 0.5}]
    optimizer = LARS(groups, lr=1.0, momentum=0.0)
    _loss(net, 0).backward()
    optimizer.step()
    assert torch.equal(net[0].weight, before[0].weight)
    moved = (net[3].weight - before[3].weight).norm() / before[3].weight.norm()
    assert moved.item() == pytest.approx(0.5)


def test_no_step_waits_for_the_device():
    """On the meta device there are no values to wait for."""
    net = _net(0).float().to("meta")
    optimizer = LARS(net.parameters(), lr=1.0, weight_decay=1e-4)
    for parameter in net.parameters():
        parameter.grad = torch.empty_like(parameter)
    optimizer.step()
    optimizer.step()


def test_its_state_goes_on():
    first, second = _net(5), _net(5)
    one, other = LARS(first.parameters(), lr=0.5), LARS(second.parameters(), lr=0.5)
    for net, optimizer in ((first, one), (second, other)):
        for step in range(2):
            net.zero_grad()
            _loss(net, step).backward()
            optimizer.step()
    resumed = LARS(second.parameters(), lr=0.1)
    resumed.load_state_dict(other.state_dict())
    for net, optimizer in ((first, one), (second, resumed)):
        net.zero_grad()
        _loss(net, 2).backward()
        optimizer.step()
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_closure_gives_the_loss():
    net = _net(6)

    def closure():
        net.zero_grad()
        loss = _loss(net, 0)
        loss.backward()
        return loss

    assert LARS(net.parameters(), lr=0.1).step(closure).item() == pytest.approx(_loss(_net(6), 0).item())


@pytest.mark.parametrize("name", ["lr", "momentum", "weight_decay", "trust_coefficient"])
def test_negative_values_are_refused(name):
    with pytest.raises(InputError, match=name):
        LARS(_net(0).parameters(), **({"lr": 1.0} | {name: -0.1}))
