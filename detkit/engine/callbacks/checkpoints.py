"""The callback that writes ``best.ckpt`` and ``last.ckpt``."""

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
    """Reads and writes Lightning's checkpoints by `detkit.engine.checkpoint`: atomically, without code in them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write the file in one step."""
        write_checkpoint(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = True) -> dict[str, Any]:
        """Read the file onto the CPU."""
        return read_checkpoint(path)


class RunCheckpoints(Checkpoint):
    """Writes ``last.ckpt`` after each epoch and ``best.ckpt`` after each validation that is better than all before.

    SIGTERM and Ctrl-C write ``last.ckpt`` too, at the end of the current step, and end the run with `Interrupted`. A
    second signal ends it at once, with the previous ``last.ckpt``.

    Args:
        folder: the run's folder.
        every_n_steps: also write ``last.ckpt`` every so many optimizer steps.
        monitor: the logged metric that decides which validation is the best.
        higher_is_better: whether the maximum of the metric is the best, or its minimum.
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
        self.due = False
        self.stopping = False
        self.between_batches = False
        self.within_validation = False

    def state_dict(self) -> dict[str, Any]:
        """The best value so far, and of which metric."""
        return {"best": self.best, "monitor": self.monitor}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the best value of the checkpoint, if it is one of the same metric."""
        if state_dict.get("monitor", self.monitor) == self.monitor:
            self.best = state_dict["best"]

    def on_sanity_check_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start listening to signals: Lightning's own handlers, which wait for the first step, are installed by now."""
        self.signals.start()

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start listening to signals."""
        self.signals.start()

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Stop listening to signals."""
        self.signals.stop()

    def on_exception(self, trainer: Trainer, module: LightningModule, exception: BaseException) -> None:
        """Stop listening to signals."""
        self.signals.stop()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Note whether to save, every so many steps or after a signal; never between the batches of one step."""
        last_of_epoch = trainer.fit_loop.epoch_loop.batch_progress.is_last_batch
        if last_of_epoch or (batch_idx + 1) % trainer.accumulate_grad_batches:
            return  # the end of an epoch saves when validation is over
        self.stopping = self._stop_requested(trainer)
        every = self.every_n_steps is not None and trainer.global_step % self.every_n_steps == 0
        self.due = self.stopping or every

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Save what was due, and stop after a signal: only now has the step been logged, and validated."""
        if not self.due:
            return
        self.due, self.between_batches = False, True
        self._save(trainer, "last.ckpt")
        self.between_batches = False
        if self.stopping:
            self._stop(trainer)

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Stop within a validation after a signal; resuming restarts this validation.

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
        """Record the loops as Lightning can restart them.

        Within a validation, it has only just begun. Between batches, the one before has just ended.
        """
        loops = checkpoint["loops"]["fit_loop"]
        if self.within_validation:
            progress = loops["epoch_loop.val_loop.batch_progress"]
            for counts in (progress["total"], progress["current"]):
                counts.update(ready=1, started=1, processed=0, completed=0)
        elif self.between_batches:
            for counts in (loops["epoch_loop.batch_progress"][part] for part in ("total", "current")):
                counts.update(ready=counts["processed"], completed=counts["processed"] - 1)
            loops["epoch_loop.batch_progress"]["is_last_batch"] = False
            loops["epoch_loop.state_dict"]["_batches_that_stepped"] -= 1

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save the best checkpoint so far."""
        value = trainer.callback_metrics.get(self.monitor)
        if trainer.sanity_checking or trainer.state.fn != "fit" or value is None:
            return
        if self.best is None or self.sign * float(value) > self.sign * self.best:
            self.best = float(value)
            self._save(trainer, "best.ckpt")

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Save, and stop if a signal came when nothing could be saved."""
        self.due = False
        self._save(trainer, "last.ckpt")
        if self._stop_requested(trainer):
            self._stop(trainer)

    def _stop_requested(self, trainer: Trainer) -> bool:
        """Whether any process got a signal: all of them stop at the same step."""
        signaled = self.signals.signum is not None
        return trainer.strategy.reduce_boolean_decision(signaled, all=False) if trainer.world_size > 1 else signaled

    def _stop(self, trainer: Trainer) -> None:
        saved = f"{self.folder / 'last.ckpt'} holds step {trainer.global_step}; go on with --resume {self.folder}"
        raise Interrupted(self.signals.signum or signal.SIGTERM, saved)

    def _save(self, trainer: Trainer, name: str) -> None:
        trainer.save_checkpoint(self.folder / name)
