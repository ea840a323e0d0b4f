"""Exact resuming: restore the random states and the position within an epoch, which Lightning does not."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import torch
from lightning.pytorch import Callback, LightningModule, Trainer, seed_everything

from detkit.distributed import gather


class ExactResume(Callback):
    """Makes a resumed run continue exactly as the uninterrupted one would have.

    Checkpoints hold the random state of Python, NumPy and torch on every process. Validation does not change it.
    A run that stopped within an epoch continues with that epoch's next batch.
    """

    def __init__(self) -> None:
        self.resumed: list[dict[str, Any]] | None = None
        self.before_validation: dict[str, Any] | None = None

    def on_load_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Set the batch at which the data continues."""
        self.resumed = checkpoint.get("random_states")
        progress = checkpoint["loops"]["fit_loop"]
        epoch, batches = progress["epoch_progress"]["current"], progress["epoch_loop.batch_progress"]
        unfinished = epoch["processed"] < epoch["ready"] and not batches["is_last_batch"]
        data = getattr(trainer, "datamodule", None)
        if data is not None:
            data.skip_batches = batches["current"]["processed"] if unfinished else 0

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Hide ``max_steps`` while Lightning restores its loops: with it, it would count a finished epoch twice."""
        self.max_steps = trainer.fit_loop.epoch_loop.max_steps
        trainer.fit_loop.epoch_loop.max_steps = -1

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Restore the checkpoint's random state, unless the number of processes has changed."""
        trainer.fit_loop.epoch_loop.max_steps = self.max_steps
        if self.resumed is not None and len(self.resumed) == trainer.world_size:
            set_random_state(self.resumed[trainer.global_rank], module.device)
        elif trainer.global_rank > 0:  # each process samples on its own
            seed_everything(torch.initial_seed() % 2**32 + trainer.global_rank, verbose=False)
        self.resumed = None

    def on_validation_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Store the random state."""
        self.before_validation = random_state(module.device)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Restore it."""
        if self.before_validation is not None:
            set_random_state(self.before_validation, module.device)
        self.before_validation = None

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Add the random states of all processes."""
        checkpoint["random_states"] = gather(self.before_validation or random_state(module.device))


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
