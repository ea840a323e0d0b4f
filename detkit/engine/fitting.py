"""Lightning's loop, whose processes end together."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from detkit.data import DataModule
from detkit.engine.callbacks.signals import Interrupted
from detkit.engine.module import DetectionModule
from detkit.errors import InputError

WRONG_INPUT = 2  # the exit status of `detkit.engine.cli.run`


def fit(trainer: Trainer, module: DetectionModule, data: DataModule, checkpoint: Path | None) -> None:
    """Train, from the state of `checkpoint` on if there is one.

    Raises:
        InputError: the trainer does not take the module, or another process has stopped.
    """
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise InputError(" ".join(str(error).split())) from error
    except Interrupted:
        raise  # as every process does
    except BaseException as error:
        others = getattr(trainer.strategy.launcher, "procs", [])
        if _end(others) and not isinstance(error, InputError):
            raise InputError("Another process of this run has stopped; its own message says why.") from error
        raise


def _end(processes: Sequence[subprocess.Popen]) -> bool:
    """End the other processes, which may wait for this one for ever; whether one had stopped at wrong input."""
    end = time.monotonic() + 2
    while time.monotonic() < end and any(process.poll() is None for process in processes):
        time.sleep(0.1)
    stopped = any(process.poll() == WRONG_INPUT for process in processes)
    for process in processes:
        process.kill()
    return stopped
