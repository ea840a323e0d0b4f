"""A run whose other processes die ends with one sentence, and so do they."""

import signal
import subprocess
import sys
from types import SimpleNamespace

import pytest

from detkit.engine.trainer import processes
from detkit.engine.trainer.processes import lost_process
from detkit.errors import InputError

GLOO = RuntimeError("[gloo/transport/tcp/pair.cc:545] Read error [127.0.0.1]:1: Connection reset by peer")


def trainer(*others):
    return SimpleNamespace(world_size=len(others) + 1, strategy=SimpleNamespace(launcher=SimpleNamespace(procs=others)))


def process(code: str) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", code])


def test_a_killed_process_is_named_and_the_others_end():
    killed, waiting = process("import time; time.sleep(60)"), process("import time; time.sleep(60)")
    killed.kill()
    told = lost_process(trainer(killed, waiting), GLOO)
    assert "was killed by SIGKILL" in str(told)
    assert str(killed.pid) in str(told)
    assert waiting.wait(10) == -signal.SIGKILL


def test_a_process_that_has_said_what_is_wrong_is_referred_to():
    wrong = process("import sys; sys.exit(2)")
    wrong.wait(10)
    assert "its own message says why" in str(lost_process(trainer(wrong), GLOO))


def test_the_first_process_is_missed_too():
    alone = SimpleNamespace(world_size=2, strategy=SimpleNamespace(launcher=None))
    assert "Another process of this run has stopped" in str(lost_process(alone, GLOO))


def test_other_errors_are_left_alone():
    assert lost_process(trainer(), GLOO) is None
    assert lost_process(trainer(process("")), RuntimeError("shapes do not match")) is None
    assert lost_process(trainer(process("")), InputError("A file is missing.")) is None


def test_a_main_process_that_waits_for_a_dead_one_ends_with_a_sentence(monkeypatch, capsys):
    statuses = []
    monkeypatch.setattr(processes, "GRACE", 0.0)
    monkeypatch.setattr(processes.os, "_exit", statuses.append)
    processes.announce_deaths()
    dead = process("import os; os.kill(os.getpid(), 9)")
    dead.wait(10)
    observer = processes.subprocess_script._ChildProcessObserver(main_pid=1, child_processes=[dead])
    assert observer._run()
    assert statuses == [2]
    assert "was killed by SIGKILL" in capsys.readouterr().err


@pytest.mark.parametrize("returncode", [0, None])
def test_processes_that_run_or_have_finished_are_no_deaths(returncode):
    others = SimpleNamespace(returncode=returncode, poll=lambda: returncode)
    observer = processes.subprocess_script._ChildProcessObserver(main_pid=1, child_processes=[others])
    assert observer._run() is (returncode == 0)
