"""Console output of a run: a line per epoch, a progress bar on a terminal, and none of Lightning's tips."""

from __future__ import annotations

import logging
import time
import warnings
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import ProgressBar, RichProgressBar, TQDMProgressBar
from rich.console import Console

from detkit.engine.optim import learning_rate

NOISE = (
    ".*does not have many workers.*",
    ".*number of training batches.*smaller than the logging interval.*",
    ".*recommended to use.*sync_dist.*",
    ".*in eval mode at the start of training.*",
    ".*dataloader is not resumable.*",
    ".*Trying to infer the `batch_size`.*",
    ".*isinstance.*LeafSpec.*",
    ".*lr_scheduler.step.*before.*optimizer.step.*",
    ".*Checkpoint directory.*exists and is not empty.*",
    ".*tensorboardX.*",
    ".*overridden `transfer_batch_to_device`.*",
    ".*TreeSpec.*",
    ".*barrier.*using the device under current context.*",
)
SECONDS_BETWEEN_LINES = 30


def quiet_lightning() -> None:
    """Silence messages of Lightning that a user of detkit cannot act on."""
    for message in NOISE:
        warnings.filterwarnings("ignore", message)
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("lightning.pytorch.profilers.profiler").setLevel(logging.INFO)  # which prints its report so


class ProgressLines(Callback):
    """Prints a line after each epoch, and without a terminal the losses every half minute.

    Args:
        console: where to print.
    """

    def __init__(self, console: Console) -> None:
        self.console = console
        self.last_line = time.monotonic()
        self.validated = False

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock, also for an epoch that is resumed in its middle."""
        self.epoch_start = time.monotonic()

    def on_train_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the epoch's clock."""
        self.epoch_start = time.monotonic()

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Print a line every half minute."""
        now = time.monotonic()
        has_bar = self.console.is_terminal or self.console.is_jupyter
        if has_bar or now - self.last_line < SECONDS_BETWEEN_LINES or not trainer.is_global_zero:
            return
        self.last_line = now
        self.console.print(
            f"{_epoch(trainer)}  step {batch_idx + 1}/{trainer.num_training_batches}  {_losses(trainer)}",
            soft_wrap=True,
        )

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Note that this epoch has metrics of its own."""
        self.validated = True

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Print the epoch in one line: losses, validation, learning rate, time."""
        if not trainer.is_global_zero:
            return
        metrics = trainer.callback_metrics if self.validated else {}
        self.validated = False
        columns = {
            "AP": "val/AP",
            "AP50": "val/AP50",
            "top-1": "val/classification/top1",
            "top-5": "val/classification/top5",
            "localized": "val/localization/top1_localization",
            "val loss": "val/loss",
        }
        for evaluator in getattr(module, "evaluators", {}).values():
            headline = evaluator.log_name(evaluator.headline)
            if headline not in columns.values():
                columns[f"{evaluator.name} {evaluator.headline}"] = headline
        accuracy = [f"{title} {float(metrics[name]):.3f}" for title, name in columns.items() if name in metrics]
        seconds = time.monotonic() - self.epoch_start
        parts = [_epoch(trainer), _losses(trainer), *accuracy]
        parts += [f"lr {learning_rate(trainer.optimizers[0]):.2g}", f"{seconds:.0f} s"]
        self.console.print("  ".join(parts), soft_wrap=True, highlight=False)


class EpochBar(RichProgressBar):
    """Lightning's bar, which counts epochs from 1."""

    def _get_train_description(self, current_epoch: int) -> str:
        return _epoch(self.trainer)


class NotebookBar(TQDMProgressBar):
    """Lightning's bar for notebooks, which counts epochs from 1."""

    def on_train_epoch_start(self, trainer: Trainer, *arguments: Any) -> None:
        """Begin an epoch."""
        super().on_train_epoch_start(trainer, *arguments)
        self.train_progress_bar.set_description(_epoch(trainer))


def progress_bar(console: Console) -> ProgressBar | None:
    """A progress bar on a terminal and in a notebook, else None."""
    if console.is_jupyter:
        return NotebookBar(leave=False)
    return EpochBar(leave=False) if console.is_terminal else None


def _epoch(trainer: Trainer) -> str:
    last = trainer.max_epochs or -1  # -1: max_steps ends the run
    return f"epoch {trainer.current_epoch + 1}" + (f"/{last}" if last > 0 else "")


def _losses(trainer: Trainer) -> str:
    losses = {name: value for name, value in trainer.callback_metrics.items() if name.startswith("train/")}
    if not losses:
        return "no training step"
    total = losses.pop("train/loss")
    groups = {name.removeprefix("train/"): float(value) for name, value in losses.items() if "." not in name}
    terms = ", ".join(f"{name} {value:.3f}" for name, value in groups.items())  # groups as their sum
    return f"last step: loss {float(total):.4f} ({terms})"
