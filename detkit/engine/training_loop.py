"""Run Lightning's training loop: checks before it, and a common end of all processes."""

from __future__ import annotations

from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from detkit.data import DataModule
from detkit.engine.callbacks.loggers import writer_threads_quiet
from detkit.engine.callbacks.signals import Interrupted
from detkit.engine.module import DetectionModule
from detkit.engine.trainer.failures import as_input_error
from detkit.engine.trainer.processes import WRONG_INPUT, announce_deaths, lost_process
from detkit.engine.trainer.trainer_options import check_devices
from detkit.errors import InputError, causes_of
from detkit.learners import Learner

__all__ = ["WRONG_INPUT", "check_sources", "check_trainer", "fit"]


def check_sources(learner: Learner, data: DataModule) -> None:
    """Refuse data in which a source of the learner is missing, or that has one which it does not read.

    Raises:
        InputError: it names the first one.
    """
    given, needed = {source.name for source in data.sources}, set(learner.sources)
    name = type(learner).__name__
    for missing in sorted(needed - given):
        raise InputError(
            f"The {name} learns from a data source named {missing}: give one of this name in data.sources."
        )
    for unused in sorted(given - needed):
        raise InputError(f"The {name} does not read the data source {unused}: leave it out, or choose another learner.")


def check_trainer(trainer: Trainer, module: LightningModule, learner: Learner) -> None:
    """Refuse devices that cannot train as asked, and settings that do not work with several optimizers.

    Raises:
        InputError: it names the setting.
    """
    check_devices(trainer)
    if module.automatic_optimization:
        return
    name = type(learner).__name__
    for key, neutral in (("gradient_clip_val", None), ("accumulate_grad_batches", 1)):
        value = getattr(trainer, key)
        if value and value != neutral:
            raise InputError(
                f"trainer.{key} is {value}, but {name} has several optimizers that take turns: leave it out."
            )
    options = getattr(trainer.strategy, "_ddp_kwargs", {})
    if isinstance(trainer.strategy, DDPStrategy) and not options.get("find_unused_parameters"):
        raise InputError(
            f"{name} has several optimizers that take turns: with several processes set trainer.strategy to "
            "ddp_find_unused_parameters_true."
        )


def fit(trainer: Trainer, module: DetectionModule, data: DataModule, checkpoint: Path | None) -> None:
    """Train, starting from the state of `checkpoint` if it is given.

    Raises:
        InputError: the trainer does not take the module, or another process has stopped.
    """
    announce_deaths()
    try:
        with writer_threads_quiet():
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except Interrupted:
        raise  # as every process does
    except BaseException as error:
        if _is_interrupted(error):
            raise KeyboardInterrupt from error
        if sentence := lost_process(trainer, error) or as_input_error(error):
            raise sentence from error
        raise


def _is_interrupted(error: BaseException) -> bool:
    """Whether Ctrl-C is behind an error: Lightning ends with an exit of its own, or fails while it cleans up."""
    return any(isinstance(cause, KeyboardInterrupt) for cause in causes_of(error))
