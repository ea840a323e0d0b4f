"""Processes that import nothing: each is forked from one process that has imported torch and what trains.

It is started once for all tests of a process. It has run nothing, so it has no threads that a fork would lose.
"""

from __future__ import annotations

import multiprocessing
import os
import runpy
import sys
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch.multiprocessing

_PRELOADED = ["detkit.engine.module", "detkit.engine.checkpoint", "detkit.models", "detkit.data"]
_CONTEXT = multiprocessing.get_context("forkserver")
_CONTEXT.set_forkserver_preload(_PRELOADED)


def run_in_processes(run: Callable[..., None], *arguments: Any, count: int = 2) -> None:
    """Calls `run(rank, *arguments)` in `count` processes, and raises what one of them raises."""
    torch.multiprocessing.start_processes(run, arguments, nprocs=count, start_method="forkserver")


def start_forked(run: Callable[..., Any], *arguments: Any) -> BaseProcess:
    """Starts a process that calls `run`."""
    process = _CONTEXT.Process(target=run, args=arguments, daemon=True)
    process.start()
    return process


def start_command(said: Path, folder: Path, *argv: str, **environment: str) -> BaseProcess:
    """Starts ``detkit`` with these arguments in `folder`; all that it says goes to the file `said`.

    As in a process of its own, ``PYTHONPATH`` in the environment is where modules are looked for.
    """
    return start_forked(_command, said, folder, argv, environment)


def start_script(said: Path, folder: Path, script: Path, *argv: str, **environment: str) -> BaseProcess:
    """Starts a Python file with these arguments, as `start_command` does ``detkit``."""
    return start_forked(_script, said, folder, script, argv, environment)


def _command(said: Path, folder: Path, argv: tuple[str, ...], environment: dict[str, str]) -> None:
    from detkit.engine.cli import main

    _enter(said, folder, environment)
    sys.exit(main(list(argv)))


def _script(said: Path, folder: Path, script: Path, argv: tuple[str, ...], environment: dict[str, str]) -> None:
    _enter(said, folder, environment)
    sys.argv = [str(script), *argv]
    sys.path.insert(0, str(script.parent))
    runpy.run_path(str(script), run_name="__main__")


def _enter(said: Path, folder: Path, environment: dict[str, str]) -> None:
    """Makes this process one that was started in `folder`, and that writes to `said`."""
    from lightning.pytorch.utilities.rank_zero import rank_zero_only

    os.chdir(folder)
    os.environ.update(environment)
    # Lightning looks for the rank when it is imported, which it was before there was one.
    rank_zero_only.rank = int(environment.get("LOCAL_RANK", "0"))
    sys.path[:0] = filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))
    with open(said, "w") as file:
        os.dup2(file.fileno(), 1)
        os.dup2(file.fileno(), 2)
