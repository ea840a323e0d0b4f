"""Exact resuming: restore the random states and the position within an epoch, which Lightning does not."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from detkit.data import DataModule
from detkit.distributed import gather
from detkit.engine.module import DetectionModule
from detkit.engine.run.learning_rates import (
    apply_settings,
    is_counted_in_steps,
    move_schedules,
    settings_of,
    steps_per_epoch,
)


class ExactResume(Callback):
    """Makes a resumed run continue exactly as the uninterrupted one would have.

    Checkpoints hold the random state of Python, NumPy and torch on every process. Validation does not change it.
    A run that stopped within an epoch continues with that epoch's next batch.

    Where settings have changed, it continues as a run that has had them from the start: with its optimizer settings,
    and its learning rate at the same share of the epochs. An epoch may have another number of batches then.
    """

    def __init__(self) -> None:
        self.resumed: dict[str, Any] | None = None
        self.before_validation: dict[str, Any] | None = None
        self.settings: list[list[dict[str, Any]]] = []
        self.epochs = 0
        self.batches = 0
        self.moved = 0

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Set the batch at which the data continues."""
        self.resumed = {name: checkpoint.get(name) for name in ("random_states", "progress", "global_step")}
        progress = checkpoint["loops"]["fit_loop"]
        epoch, batches = progress["epoch_progress"]["current"], progress["epoch_loop.batch_progress"]
        within = epoch["processed"] < epoch["ready"]
        self.epochs = epoch["processed"] + int(within and batches["is_last_batch"])
        data: DataModule | None = getattr(trainer, "datamodule", None)
        before = (checkpoint.get("progress") or {}).get("batches_per_epoch")
        if before is not None and data is not None:
            _fit_into_epoch(batches, before, _batches_per_epoch(trainer, data), trainer.accumulate_grad_batches)
        self.batches = batches["current"]["processed"] if within and not batches["is_last_batch"] else 0
        if data is not None:
            data.skip_batches = self.batches

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Hide ``max_steps`` while Lightning restores its loops: with it, it would count a finished epoch twice."""
        self.max_steps = trainer.fit_loop.epoch_loop.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1
        self.settings = settings_of(trainer.optimizers)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Restore the checkpoint's random state, unless the number of processes has changed, and set learning rates."""
        trainer.fit_loop.epoch_loop.max_steps = self.max_steps
        states = self.resumed and self.resumed["random_states"]
        if states and len(states) == trainer.world_size:
            set_random_state(states[trainer.global_rank], module.device)
        elif trainer.global_rank > 0:  # each process samples on its own
            seed_everything(torch.initial_seed() % 2**32 + trainer.global_rank, verbose=False)
        if self.resumed is not None:
            self._continue_learning_rates(trainer, self.resumed["progress"] or {}, self.resumed["global_step"])
            if isinstance(module, DetectionModule):
                module.moved_steps = self.moved
        self.resumed = None

    def _continue_learning_rates(self, trainer: Trainer, saved: dict[str, Any], global_step: int) -> None:
        apply_settings(trainer, self.settings, saved.get("settings"))
        per_epoch = steps_per_epoch(trainer)
        if is_counted_in_steps(trainer):
            position = global_step
        elif saved.get("steps_per_epoch") == per_epoch:
            position = saved["position"]
        else:
            position = self.epochs * per_epoch + self.batches // trainer.accumulate_grad_batches
        self.moved = position - global_step
        move_schedules(trainer, position)

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Store the random state."""
        self.before_validation = random_state(module.device)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Restore it."""
        if self.before_validation is not None:
            set_random_state(self.before_validation, module.device)
        self.before_validation = None

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the random states of all processes, and what else it takes to go on."""
        checkpoint["random_states"] = gather(self.before_validation or random_state(module.device))
        checkpoint["progress"] = {
            "batches_per_epoch": trainer.num_training_batches,
            "steps_per_epoch": steps_per_epoch(trainer),
            "position": trainer.global_step + self.moved,
            "settings": self.settings,
        }


def _fit_into_epoch(progress: dict[str, Any], before: int, now: int, per_step: int) -> None:
    """Continue at the same share of an epoch that has another number of batches now, and at the beginning of a step.

    Args:
        progress: Lightning's, of the batches; changed in place.
        before: the number of batches until now.
        now: that from now on.
        per_step: batches in an optimizer step.
    """
    current, at_end = progress["current"], progress["is_last_batch"]
    batches = current["processed"]
    if before != now:
        batches = now if at_end else min(batches * now // before, now - 1)
    if not at_end:
        batches -= batches % per_step
    ahead = current["processed"] - current["completed"]
    current.update(ready=batches, started=batches, processed=batches, completed=batches - ahead)


def _batches_per_epoch(trainer: Trainer, data: DataModule) -> int:
    """As `Trainer.num_training_batches`, which is not known before the loader is there."""
    batches, limit = len(data.train_dataloader()), trainer.limit_train_batches
    return min(batches, limit) if isinstance(limit, int) else int(batches * limit)


def random_state(device: torch.device) -> dict[str, Any]:
    """The state of all random number generators of this process, in plain values and tensors."""
    _, keys, *position = np.random.get_state(legacy=True)
    state = {
        "python": random.getstate(),
        "numpy": [torch.from_numpy(np.asarray(keys).astype(np.int64)), *position],
        "torch": torch.get_rng_state(),
    }
    if device.type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: dict[str, Any], device: torch.device) -> None:
    """Restore the random number generators from `state`."""
    version, words, gauss = state["python"]
    random.setstate((version, tuple(words), gauss))
    keys, *position = state["numpy"]
    np.random.set_state(("MT19937", keys.numpy().astype(np.uint32), *position))
    torch.set_rng_state(state["torch"].cpu())
    if device.type == "cuda" and "cuda" in state:
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
