"""A call that leaves the process as it was: a notebook goes on, with its own seeds, filters, loggers and handlers."""

from __future__ import annotations

import logging
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import numpy as np
import torch
from lightning.fabric.strategies.launchers import subprocess_script

from detkit.engine.callbacks.signals import Interrupted
from detkit.engine.verbs.wording import reworded


@contextmanager
def unchanged_process() -> Iterator[None]:
    """Restore at the end, also after an error, what a command changes of its process.

    These are the random numbers of Python, NumPy and torch; torch's settings; environment variables; filters of
    warnings; levels and handlers of loggers; handlers of signals. Within it, what detkit's loggers say is shown as the
    command line shows it, unless the process has a logger's handler of its own.

    Raises:
        KeyboardInterrupt: Ctrl-C, or the stop button of a notebook, has ended the call.
    """
    with ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        for kept in (_random_numbers, _torch_settings, _environment, _loggers, _signals, _process_watch):
            stack.callback(kept())
        _show_what_loggers_say()
        try:
            yield
        except Interrupted as error:
            if error.signum == signal.SIGINT:
                raise KeyboardInterrupt(reworded(str(error))) from None
            raise


def _random_numbers() -> Callable[[], None]:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    gpus = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []

    def restore() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if gpus:
            torch.cuda.set_rng_state_all(gpus)

    return restore


def _torch_settings() -> Callable[[], None]:
    cudnn, matmul = torch.backends.cudnn, torch.backends.cuda.matmul
    flags = [
        (cudnn, "benchmark", cudnn.benchmark),
        (cudnn, "deterministic", cudnn.deterministic),
        (cudnn, "allow_tf32", cudnn.allow_tf32),
        (matmul, "allow_tf32", matmul.allow_tf32),
    ]
    threads, dtype, grad = torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled()
    deterministic = torch.are_deterministic_algorithms_enabled()
    warns = torch.is_deterministic_algorithms_warn_only_enabled()
    anomaly = torch.is_anomaly_enabled()

    def restore() -> None:
        for owner, name, value in flags:
            if getattr(owner, name) != value:
                setattr(owner, name, value)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns)
        torch.set_default_dtype(dtype)
        torch.autograd.set_detect_anomaly(anomaly)
        torch.set_grad_enabled(grad)
        if torch.get_num_threads() != threads:
            torch.set_num_threads(threads)

    return restore


def _environment() -> Callable[[], None]:
    before = dict(os.environ)

    def restore() -> None:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)

    return restore


def _loggers() -> Callable[[], None]:
    names = [name for name, one in logging.Logger.manager.loggerDict.items() if isinstance(one, logging.Logger)]
    known = [logging.getLogger(), logging.getLogger("detkit"), *map(logging.getLogger, names)]
    before = [(one, one.level, list(one.handlers), one.propagate, one.disabled) for one in known]

    def restore() -> None:
        for one, level, handlers, propagate, disabled in before:
            one.setLevel(level)
            one.handlers[:], one.propagate, one.disabled = handlers, propagate, disabled

    return restore


def _signals() -> Callable[[], None]:
    if threading.current_thread() is not threading.main_thread():
        return lambda: None  # no other thread can set them
    before: dict[signal.Signals, Any] = {one: signal.getsignal(one) for one in signal.valid_signals()}

    def restore() -> None:
        for number, handler in before.items():
            if handler is not None and signal.getsignal(number) is not handler:
                signal.signal(number, handler)

    return restore


def _process_watch() -> Callable[[], None]:
    """Lightning's watch over processes, which `announce_deaths` replaces."""
    watch: Any = subprocess_script._ChildProcessObserver
    before = watch._terminate_all

    def restore() -> None:
        watch._terminate_all = before

    return restore


def _show_what_loggers_say() -> None:
    """Show the lines of the command line; its handler is removed with all the rest."""
    ours = logging.getLogger("detkit")
    if ours.level == logging.NOTSET:
        ours.setLevel(logging.INFO)
    if not ours.hasHandlers():
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(message)s"))
        ours.addHandler(handler)
