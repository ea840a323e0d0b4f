"""One training at a time in the folder of a run."""

import multiprocessing
import os
import signal
import socket
import time
from pathlib import Path

import pytest
from forked import start_command

from detkit.engine.run.lock import LOCK_FILE, locked
from detkit.errors import InputError


def test_a_second_training_is_refused_and_told_by_whom(tmp_path):
    folder = tmp_path / "runs" / "one"
    holder = rf"process {os.getpid()} on {socket.gethostname()}"
    with locked(folder):
        with (
            pytest.raises(InputError, match=rf"runs/one is in use by another training \({holder}\): wait"),
            locked(folder),
        ):
            pass
        with locked(tmp_path / "runs" / "other"):
            pass
    assert not (tmp_path / "runs").exists()


def test_a_lock_that_nobody_holds_is_taken(tmp_path):
    (tmp_path / LOCK_FILE).write_text("process 1 on another machine, which was killed")
    with locked(tmp_path):
        assert str(os.getpid()) in (tmp_path / LOCK_FILE).read_text()
    assert list(tmp_path.iterdir()) == []


def test_a_worker_that_outlives_the_training_does_not_hold_the_lock(tmp_path):
    context = multiprocessing.get_context("fork")
    with locked(tmp_path):
        worker = context.Process(target=signal.pause, daemon=True)
        worker.start()
    try:
        with locked(tmp_path):
            pass
    finally:
        worker.kill()
        worker.join()


@pytest.mark.slow
def test_a_run_in_progress_is_neither_resumed_nor_replaced(recipe, detkit_command, tmp_path):
    config = recipe(trainer={"max_epochs": 100_000})
    process = start_command(tmp_path / "said", tmp_path, "train", "--config", config)
    try:
        end = time.monotonic() + 200
        while not Path("runs/tiny/last.ckpt").exists() and process.is_alive() and time.monotonic() < end:
            time.sleep(0.05)
        for argv in (["--resume", "runs/tiny"], ["--config", config], ["--config", config, "--overwrite"]):
            status, said = detkit_command("train", *argv)
            assert (status, f"in use by another training (process {process.pid} on " in said) == (2, True), said
    finally:
        process.kill()
        process.join(60)
    status, said = detkit_command("train", "--config", config, "--overwrite", "--trainer.max_epochs", "1")
    assert status == 0, said
    assert not Path("runs/tiny", LOCK_FILE).exists()
