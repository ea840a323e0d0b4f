"""Clipped steps in every precision, against the same steps in float64 without Lightning, autocast or a scaler."""

import logging

import pytest
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn

from detkit.engine.module import DetectionModule
from detkit.models import Detector
from detkit.structures import Target

STEPS = [(3.0, -4.0, 12.0), (0.1, 0.2, -0.1), (-50.0, 7.0, 1.0), (0.3, -6.0, 2.0)]  # norms 13, 0.24, 50.5, 6.3
TOO_LARGE = 3e37  # finite itself, but not times the scale of float16's gradients

OPTIMIZERS = {
    "fused SGD": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9, "fused": True}),
    "SGD": (torch.optim.SGD, {"lr": 0.1, "momentum": 0.9}),
    "fused AdamW": (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.05, "fused": True}),
    "AdamW": (torch.optim.AdamW, {"lr": 0.1, "weight_decay": 0.05}),
}


class Gradients(Detector):
    """A model whose gradient is the batch."""

    def __init__(self) -> None:
        super().__init__(1)
        self.first, self.rest = nn.Parameter(torch.tensor([1.0])), nn.Parameter(torch.tensor([-2.0, 0.5]))

    def forward(self, images: list[Tensor], targets: list[Target]) -> dict[str, Tensor]:
        (gradient,) = images
        return {"loss": (self.first * gradient[:1]).sum() + (self.rest * gradient[1:]).sum()}


@pytest.fixture(autouse=True)
def quiet(caplog):
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.ERROR)


def trained(precision: str, optimizer: str, gradients: list[tuple[float, ...]], **options) -> tuple[Tensor, Trainer]:
    """The weights after a step for each of `gradients`."""
    make, arguments = OPTIMIZERS[optimizer]
    module = DetectionModule(Gradients(), lambda groups: make(groups, **arguments))
    plugins = [MixedPrecision("16-mixed", "cpu")] if precision == "16-mixed" else []
    trainer = Trainer(
        accelerator="cpu",
        max_epochs=1,
        precision=None if plugins else precision,
        plugins=plugins,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        **options,
    )
    batches = [
        ([torch.tensor(one)], [Target(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64))]) for one in gradients
    ]
    trainer.fit(module, torch.utils.data.DataLoader(batches, batch_size=None))
    return torch.cat([module.model.first, module.model.rest]).detach(), trainer


def reference(optimizer: str, gradients: list[Tensor], clip) -> Tensor:
    """The weights after the same steps in float64."""
    make, arguments = OPTIMIZERS[optimizer]
    weights = nn.Parameter(torch.tensor([1.0, -2.0, 0.5], dtype=torch.float64))
    stepped = make([weights], **(arguments | {"fused": False}))
    for gradient in gradients:
        weights.grad = clip(gradient)
        stepped.step()
    return weights.detach()


def by_norm(limit: float):
    return lambda gradient: gradient * min(1.0, limit / float(gradient.square().sum().sqrt()))


def as_doubles(gradients) -> list[Tensor]:
    return [torch.tensor(one, dtype=torch.float64) for one in gradients]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "16-mixed"])
class TestEveryPrecisionAndOptimizer:
    def test_gradients_are_clipped_by_their_norm(self, precision, optimizer):
        weights, _ = trained(precision, optimizer, STEPS, gradient_clip_val=5.0)
        expected = reference(optimizer, as_doubles(STEPS), by_norm(5.0))
        torch.testing.assert_close(weights.double(), expected, rtol=1e-5, atol=1e-6)
        assert not torch.allclose(expected, reference(optimizer, as_doubles(STEPS), by_norm(1e9)), rtol=1e-2)

    def test_gradients_are_clipped_by_value(self, precision, optimizer):
        weights, _ = trained(precision, optimizer, STEPS, gradient_clip_val=2.0, gradient_clip_algorithm="value")
        expected = reference(optimizer, as_doubles(STEPS), lambda gradient: gradient.clamp(-2, 2))
        torch.testing.assert_close(weights.double(), expected, rtol=1e-5, atol=1e-6)

    def test_without_a_limit_they_stay_as_they_are(self, precision, optimizer):
        for options in ({}, {"gradient_clip_val": 0.0}):
            weights, _ = trained(precision, optimizer, STEPS, **options)
            expected = reference(optimizer, as_doubles(STEPS), lambda gradient: gradient)
            torch.testing.assert_close(weights.double(), expected, rtol=1e-5, atol=1e-6)

    def test_accumulated_gradients_are_clipped_once(self, precision, optimizer):
        weights, _ = trained(precision, optimizer, STEPS, gradient_clip_val=5.0, accumulate_grad_batches=2)
        one, two, three, four = as_doubles(STEPS)
        expected = reference(optimizer, [(one + two) / 2, (three + four) / 2], by_norm(5.0))
        torch.testing.assert_close(weights.double(), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_step_that_overflows_in_float16_is_left_out_and_lowers_the_scale(optimizer):
    weights, trainer = trained(
        "16-mixed", optimizer, [*STEPS[:2], (1.0, TOO_LARGE, 2.0), *STEPS[2:]], gradient_clip_val=5.0
    )
    expected = reference(optimizer, as_doubles(STEPS), by_norm(5.0))
    torch.testing.assert_close(weights.double(), expected, rtol=1e-5, atol=1e-6)
    assert trainer.scaler.get_scale() == 2**15  # half of what it began with
