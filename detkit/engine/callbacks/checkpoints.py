"""When a run writes ``best.ckpt`` and ``last.ckpt``."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint
from lightning.pytorch.plugins.io import TorchCheckpointIO

from detkit.engine.callbacks.ema import MovingAverage
from detkit.engine.callbacks.signals import Interrupted, SignalListener
from detkit.engine.checkpoint import read_checkpoint, write_checkpoint


class AtomicCheckpointIO(TorchCheckpointIO):
    """Lightning's way to the disk, over `detkit.engine.checkpoint`: whole files or none, and no code in them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write in one step."""
        write_checkpoint(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read onto the CPU."""
        return read_checkpoint(path)


class RunCheckpoints(Checkpoint):
    """Writes ``last.ckpt`` after each epoch and ``best.ckpt`` after each validation that is better than those before.

    SIGTERM and Ctrl-C write ``last.ckpt`` too, at the end of the step that they meet, and end the run with
    `Interrupted`; a second signal ends it at once, with the ``last.ckpt`` from before.

    Args:
        folder: the run's folder.
        every_n_steps: write ``last.ckpt`` also each time that so many optimizer steps are done.
        monitor: the number that decides which validation is the best.
        higher_is_better: whether its maximum is the best, or its minimum.
    """

    def __init__(
        self,
        folder: str | Path,
        every_n_steps: int | None = None,
        monitor: str = "val/AP",
        higher_is_better: bool = True,
    ) -> None:
        self.folder = Path(folder)
        self.every_n_steps = every_n_steps
        self.monitor = monitor
        self.sign = 1 if higher_is_better else -1
        self.best: float | None = None
        self.signals = SignalListener()
        self.stopping = False
        self.within_validation = False

    def state_dict(self) -> dict[str, Any]:
        """The best value so far."""
        return {"best": self.best}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on from the best value of the checkpoint."""
        self.best = state_dict["best"]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Listen to signals."""
        self.signals.start()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Listen no more."""
        self.signals.stop()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Listen no more."""
        self.signals.stop()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Save every so many steps, and at a signal; never between the parts of one optimizer step."""
        last_of_epoch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if last_of_epoch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # the end of an epoch saves when validation is over
        self.stopping = self._stop_wanted(trainer)
        due = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        if self.stopping or due:
            self._save(trainer, "last.ckpt")

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Stop after a signal: only now has the step that was saved been logged too."""
        if self.stopping:
            self._stop(trainer)

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Stop within a validation at a signal; resuming starts this validation anew.

        With several processes the validation is finished first: they have different numbers of batches.
        """
        if (
            self.signals.signum is None
            or trainer.world_size > 1
            or trainer.sanity_checking
            or trainer.state.fn != "fit"
        ):
            return
        for callback in vars(trainer)["callbacks"]:  # which Lightning's class does not declare
            if isinstance(callback, MovingAverage):
                callback.restore(module)
        self.within_validation = True
        self._save(trainer, "last.ckpt")
        self._stop(trainer)

    def on_save_checkpoint(self, trainer: Trainer, module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Within a validation: say that it has only begun."""
        if self.within_validation:
            progress = checkpoint["loops"]["fit_loop"]["epoch_loop.val_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts.update(ready=1, started=1, processed=0, completed=0)

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save the best so far."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or trainer.state.fn != "fit" or value is None:
            return
        if self.best is None or self.sign * float(value) > self.sign * self.best:
            self.best = float(value)
            self._save(trainer, "best.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save, and stop if a signal came while nothing could be saved."""
        self._save(trainer, "last.ckpt")
        if self._stop_wanted(trainer):
            self._stop(trainer)

    def _stop_wanted(self, trainer: Trainer) -> bool:
        """Whether any process was told to stop: all of them stop at the same step."""
        wanted = self.signals.signum is not None
        return trainer.strategy.reduce_boolean_decision(wanted, all=False) if trainer.world_size > 1 else wanted

    def _stop(self, trainer: Trainer) -> None:
        saved = f"{self.folder / 'last.ckpt'} holds step {trainer.global_step}; go on with --resume {self.folder}"
        raise Interrupted(self.signals.signum or signal.SIGTERM, saved)

    def _save(self, trainer: Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name)
