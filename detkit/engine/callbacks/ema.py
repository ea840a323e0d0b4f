"""An exponential moving average (EMA) of the weights, for validation and inference."""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor, nn

from detkit.engine.phases import LEARNER
from detkit.errors import InputError


class MovingAverage(Callback):
    """Keeps an exponential moving average of the model's weights.

    Lightning's `EMAWeightAveraging` is another average: without the warm-up of the decay, of counters and of the
    learner's modules too; and it makes the CPU wait for the GPU at each step.

    Validation uses the average. Checkpoints hold it as ``ema``, and the weights, from which training resumes, as they
    are. Batch norm's running mean and variance are averaged like weights, so that they fit the averaged layers before
    them; integers, its counters, are copied. The average is float32 whatever the precision of training.

    Args:
        decay: the weight of the past per optimizer step. In the first steps it is ``(1 + step) / (10 + step)`` where
            that is less, so that a short run does not average its random initialization.
    """

    def __init__(self, decay: float = 0.9998) -> None:
        if not 0 < decay < 1:
            raise InputError(f"The decay of the moving average (ema) must lie between 0 and 1, got {decay}.")
        self.decay = decay
        self.average: dict[str, Tensor] = {}  # empty before training
        self.swapped = False
        self.last_step = 0

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start from the model's weights, or from the average of the checkpoint."""
        own = _averaged(module)
        start = self.average or own
        self.average = {name: _held(start[name], value.device) for name, value in own.items()}

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Note the current step; only now is that of a resumed run known."""
        self.last_step = trainer.global_step

    @torch.no_grad()
    def on_train_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Update the average after an optimizer step."""
        step = trainer.global_step
        if step == self.last_step:
            return
        self.last_step = step
        decay = min(self.decay, (1 + step) / (10 + step))
        current = _averaged(module)
        floating = [name for name, value in self.average.items() if value.is_floating_point()]
        new = [current[name].to(self.average[name].dtype) for name in floating]
        torch._foreach_lerp_([self.average[name] for name in floating], new, 1 - decay)
        counters = [name for name, value in self.average.items() if not value.is_floating_point()]
        if counters:
            torch._foreach_copy_([self.average[name] for name in counters], [current[name] for name in counters])

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Swap the average into the model."""
        if self.average:
            self._swap(module)

    def on_validation_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Swap the weights back."""
        self.restore(module)

    def restore(self, module: LightningModule) -> None:
        """Swap the weights back if the average is in the model."""
        if self.swapped:
            self._swap(module)

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Load the average into the model."""
        module.load_state_dict(module.state_dict() | self.average)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the average."""
        checkpoint["ema"] = self.average

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Read the average of a checkpoint; without one it starts from the weights."""
        self.average = checkpoint.get("ema") or {}

    @torch.no_grad()
    def _swap(self, module: LightningModule) -> None:
        for name, value in _averaged(module).items():
            weight = value.clone()
            value.copy_(self.average[name])
            self.average[name].copy_(weight)
        self.swapped = not self.swapped


def _averaged(module: nn.Module) -> dict[str, Tensor]:
    """The tensors that are averaged: the model's, not those of a learner's own modules."""
    own = module.state_dict(keep_vars=True)  # else each one is detached, by an operation
    return {name: value for name, value in own.items() if not name.startswith(LEARNER)}


def _held(value: Tensor, device: torch.device) -> Tensor:
    """A copy of `value` on `device`, a floating one in float32 at least."""
    dtype = torch.promote_types(value.dtype, torch.float32) if value.is_floating_point() else value.dtype
    return value.detach().to(device, dtype, copy=True)
