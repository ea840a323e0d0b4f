"""The validation at the end of a run, and at least one logged step in each epoch."""

from __future__ import annotations

import math
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer


class ClosingValidation(Callback):
    """Ends each run with a validation, so that it has a ``best.ckpt`` and the numbers of its last weights.

    Lightning validates at the end of an epoch, in each `val_check_interval` or every `check_val_every_n_epoch`. A run
    that ends at another time, by `max_steps`, `max_time`, `max_epochs` or a callback, would end without. It also lowers
    `log_every_n_steps` to the steps of an epoch or of the run, which would otherwise leave no row in ``metrics.csv``.
    """

    def __init__(self) -> None:
        self.validated_step = -1

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Ask Lightning's loop to validate at the last batch of the run too."""
        loop: Any = trainer.fit_loop.epoch_loop
        usual = loop._should_check_val_fx
        loop._should_check_val_fx = lambda fetcher: usual(fetcher) or (trainer.enable_validation and _ends(trainer))

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Log the last step of a short epoch or run."""
        every: int = trainer.log_every_n_steps  # type: ignore[attr-defined]  # which Lightning's class does not declare
        steps = min(math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches), _steps_of_run(trainer))
        vars(trainer)["log_every_n_steps"] = int(max(1, min(every, steps))) if every else every

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Note the step that has been validated."""
        if not trainer.sanity_checking:
            self.validated_step = trainer.global_step

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Validate where a callback ended the run after the last batch, by a metric of training."""
        if trainer.enable_validation and self.validated_step != trainer.global_step and trainer.should_stop:
            trainer.validating = True
            trainer.fit_loop.epoch_loop.val_loop.run()
            trainer.training = True


def _ends(trainer: Trainer) -> bool:
    """Whether the batch that has just been trained on is the last one of the run."""
    loop = trainer.fit_loop
    epochs, is_last = trainer.max_epochs or -1, loop.epoch_loop.batch_progress.is_last_batch
    if 0 <= trainer.max_steps <= trainer.global_step or (is_last and 0 <= epochs <= trainer.current_epoch + 1):
        return True
    return bool(trainer.should_stop and loop._can_stop_early)


def _steps_of_run(trainer: Trainer) -> float:
    return trainer.max_steps if trainer.max_steps > 0 else math.inf
