"""Commands in processes of their own that import nothing: each is forked from one process that has imported it all."""

from __future__ import annotations

import multiprocessing
import os
import sys
from multiprocessing.process import BaseProcess
from pathlib import Path

from detkit.engine.cli import main
from detkit.engine.training import add_arguments

_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload([main.__module__, add_arguments.__module__, "tiny_detector"])


def start_forked(said: Path, *argv: str, **environment: str) -> BaseProcess:
    """Starts ``detkit`` with these arguments; what it says on stderr goes to the file `said`."""
    process = _FORKS.Process(target=_run, args=(said, argv, os.getcwd(), environment), daemon=True)
    process.start()
    return process


def _run(said: Path, argv: tuple[str, ...], folder: str, environment: dict[str, str]) -> None:
    os.chdir(folder)
    os.environ.update(environment)
    with open(said, "w") as file:
        os.dup2(file.fileno(), 2)
    sys.exit(main(list(argv)))
