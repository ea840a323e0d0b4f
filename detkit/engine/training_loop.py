"""Run Lightning's training loop: checks before it, and a common end of all processes."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy

from detkit.data import DataModule
from detkit.engine.callbacks.loggers import writer_threads_quiet
from detkit.engine.callbacks.signals import Interrupted
from detkit.engine.module import DetectionModule
from detkit.engine.trainer.failures import as_input_error
from detkit.engine.trainer.options import check_devices
from detkit.errors import InputError
from detkit.learners import Learner

WRONG_INPUT = 2  # the exit status of `detkit.engine.cli.run`


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
    try:
        with writer_threads_quiet():
            trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except Interrupted:
        raise  # as every process does
    except BaseException as error:
        others = getattr(trainer.strategy.launcher, "procs", [])
        if _end(others) and not isinstance(error, InputError):
            raise InputError("Another process of this run has stopped; its own message says why.") from error
        if told := as_input_error(error):
            raise told from error
        raise


def _end(processes: Sequence[subprocess.Popen[bytes]]) -> bool:
    """End the other processes, which may wait for this one forever; returns whether wrong input had stopped one."""
    end = time.monotonic() + 2
    while time.monotonic() < end and any(process.poll() is None for process in processes):
        time.sleep(0.1)
    stopped = any(process.poll() == WRONG_INPUT for process in processes)
    for process in processes:
        process.kill()
    return stopped
