"""The other processes of a run: what to say and do when one of them has died."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence

from lightning.fabric.strategies.launchers import subprocess_script
from lightning.pytorch import Trainer

from detkit.errors import InputError

WRONG_INPUT = 2  # the exit status of `detkit.engine.cli.run`
GRACE = 3.0  # seconds in which this process may end with a sentence of its own

_LOST = re.compile(r"gloo|NCCL|ncclRemote|closed by peer|reset by peer|TCPStore|Broken pipe", re.IGNORECASE)

Processes = Sequence["subprocess.Popen[bytes]"]


def lost_process(trainer: Trainer, error: BaseException) -> InputError | None:
    """End the processes that this one has started, which may wait for it forever.

    Returns:
        The sentence to end with, if `error` is there because another process has stopped; else None.
    """
    others: Processes = getattr(trainer.strategy.launcher, "procs", [])
    end = time.monotonic() + 2
    while time.monotonic() < end and any(process.poll() is None for process in others):
        time.sleep(0.1)
    stopped = [process for process in others if process.poll()]
    for process in others:
        process.kill()
    if isinstance(error, InputError):
        return None
    if any(process.returncode == WRONG_INPUT for process in stopped):
        return InputError("Another process of this run has stopped; its own message says why.")
    if trainer.world_size > 1 and isinstance(error, RuntimeError) and _LOST.search(str(error)):
        return InputError(_sentence(stopped))
    return None


def announce_deaths() -> None:
    """Let Lightning's watch over the processes that it starts end the run with a sentence and status 2.

    It kills the main process without a word, which then can only be waiting for the dead one.
    """
    subprocess_script._ChildProcessObserver._terminate_all = _end_run  # type: ignore[method-assign, assignment]


def _end_run(observer: subprocess_script._ChildProcessObserver) -> None:
    stopped = [process for process in observer._child_processes if process.returncode]
    time.sleep(GRACE)
    for process in observer._child_processes:
        process.kill()
    print(f"detkit: {_sentence(stopped)}", file=sys.stderr, flush=True)
    os._exit(WRONG_INPUT)


def _sentence(stopped: Processes) -> str:
    for process in stopped:
        if process.returncode < 0:
            name = signal.Signals(-process.returncode).name
            return (
                f"Another process of this run (pid {process.pid}) was killed by {name}, as happens where memory runs "
                "out; go on with --resume."
            )
    return "Another process of this run has stopped; its own message, or the log of the system, says why."
