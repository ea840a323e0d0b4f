"""A moving average of the weights, which validation and inference use."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from detkit.engine.phases import LEARNER
from detkit.errors import InputError


class MovingAverage(Callback):
    """Keeps an exponential moving average of the model's weights.

    The average validates, and is saved as ``ema`` beside the weights in training, from which training resumes. Batch
    norm's running mean and variance are averaged like weights, so that they belong to the averaged layers before them;
    integers, its counters, are copied. The average is float32 whatever the precision of training.

    Args:
        decay: the weight of the past per optimizer step. In the first steps it is ``(1 + step) / (10 + step)`` where
            that is less, so that a short run does not average its random beginning.
    """

    def __init__(self, decay: float = 0.9998) -> None:
        if not 0 < decay < 1:
            raise InputError(f"The decay of the moving average (ema) must lie between 0 and 1, got {decay}.")
        self.decay = decay
        self.average: dict[str, Tensor] | None = None
        self.swapped = False
        self.last_step = 0

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Begin with the model's weights, or go on with the average of the checkpoint."""
        own = _averaged(module)
        start = self.average or own
        self.average = {name: _held(start[name], value.device) for name, value in own.items()}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Wait for the next optimizer step; only now is the step of a resumed run known."""
        self.last_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Take in the weights after an optimizer step."""
        step = trainer.global_step
        if step == self.last_step:
            return
        self.last_step = step
        decay = min(self.decay, (1 + step) / (10 + step))
        current = _averaged(module)
        floating = [name for name, value in self.average.items() if value.is_floating_point()]
        news = [current[name].to(self.average[name].dtype) for name in floating]
        torch._foreach_lerp_([self.average[name] for name in floating], news, 1 - decay)
        for name, value in self.average.items():
            if not value.is_floating_point():
                value.copy_(current[name])

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the average in the place of the weights."""
        if self.average is not None:
            self._swap(module)

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Put the weights back."""
        self.restore(module)

    def restore(self, module: LightningModule) -> None:
        """Put the weights back if the average is in their place."""
        if self.swapped:
            self._swap(module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Leave the average in the model."""
        module.load_state_dict(module.state_dict() | self.average)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the average."""
        checkpoint["ema"] = self.average

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the average from a checkpoint; a run without one starts it from the weights."""
        self.average = checkpoint.get("ema")

    @torch.no_grad()
    def _swap(self, module: LightningModule) -> None:
        for name, value in _averaged(module).items():
            weight = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(weight)
        self.swapped = not self.swapped


def _averaged(module: nn.Module) -> dict[str, Tensor]:
    """What is averaged: the model, not what a learner has beside it."""
    return {name: value for name, value in module.state_dict().items() if not name.startswith(LEARNER)}


def _held(value: Tensor, device: torch.device) -> Tensor:
    """A copy of `value` on `device`, a floating one in float32 at least."""
    dtype = torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else value.dtype
    return value.detach().to(device, dtype, copy=True)
