"""The focal loss against torchvision's, its equation in float64, and finite differences."""

import math

import pytest
import torch
from torch.nn import functional as F
from torchvision.ops import sigmoid_focal_loss as theirs

from detkit.losses import sigmoid_focal_loss

SEEDS = [0, 1, 2]


def _case(seed, spread=3.0, shape=(5, 7)):
    generator = torch.Generator().manual_seed(seed)
    logits = spread * torch.randn(*shape, generator=generator)
    return logits, torch.rand(*shape, generator=generator) < 0.3


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize(("alpha", "gamma"), [(0.25, 2.0), (0.75, 0.5), (0.5, 1.0), (0.1, 5.0)])
def test_equals_torchvision(alpha, gamma, seed):
    logits, targets = _case(seed)
    expected = theirs(logits, targets.float(), alpha, gamma)
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, alpha, gamma), expected, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("seed", SEEDS)
def test_equals_the_papers_equation_in_float64(seed):
    logits, targets = _case(seed)
    for logit, target, loss in zip(
        logits.flatten().tolist(),
        targets.flatten().tolist(),
        sigmoid_focal_loss(logits, targets).flatten(),
        strict=True,
    ):
        p = 1 / (1 + math.exp(-logit))
        p_t, alpha_t = (p, 0.25) if target else (1 - p, 0.75)
        assert float(loss) == pytest.approx(-alpha_t * (1 - p_t) ** 2 * math.log(p_t), rel=1e-5)


def test_without_focus_is_half_the_cross_entropy():
    logits, targets = _case(0)
    expected = F.binary_cross_entropy_with_logits(logits, targets.float(), reduction="none") / 2
    torch.testing.assert_close(sigmoid_focal_loss(logits, targets, alpha=0.5, gamma=0.0), expected)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_gradients_are_those_of_finite_differences(gamma):
    logits, targets = _case(3)
    logits = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda x: sigmoid_focal_loss(x, targets, 0.25, gamma), logits)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 1.0, 2.0])
def test_is_finite_however_sure_the_answer(gamma):
    logits = torch.tensor([-1e4, -200.0, -100.0, 0.0, 100.0, 200.0, 1e4]).requires_grad_()
    for targets in (torch.ones(7, dtype=torch.bool), torch.zeros(7, dtype=torch.bool)):
        losses = sigmoid_focal_loss(logits, targets, gamma=gamma)
        (gradient,) = torch.autograd.grad(losses.sum(), logits)
        assert losses.isfinite().all()
        assert gradient.isfinite().all()
        wrong = -1e4 if targets[0] else 1e4
        assert float(losses[logits == wrong].detach()) == pytest.approx((0.25 if targets[0] else 0.75) * 1e4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_is_float32_for_half_precision(dtype):
    logits, targets = _case(0)
    losses = sigmoid_focal_loss(logits.to(dtype), targets)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, sigmoid_focal_loss(logits.to(dtype).float(), targets), rtol=0, atol=0)


def test_of_nothing_is_nothing():
    assert sigmoid_focal_loss(torch.zeros(0, 4), torch.zeros(0, 4, dtype=torch.bool)).shape == (0, 4)
