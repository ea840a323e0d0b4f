"""A run that is killed at any moment, and resumed each time, ends as the run that nothing has killed."""

import contextlib
import random
import signal
import time
from pathlib import Path

import pytest
import torch
import yaml
from forked import start_command
from recipes import TINY

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.cli import main

TRAINER = {"max_epochs": 4, "val_check_interval": 0.5, "callbacks": [{"class_path": "slow_disk.SlowDisk"}]}
RECIPE = {"pictures": 1, "ema": 0.9, "save_every_n_steps": 1, "trainer": {**TINY["trainer"], **TRAINER}}
SCHEDULE = {"class_path": "WarmupCosine", "init_args": {"warmup_steps": 3}}


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory) -> Path:
    """A working folder with data, a recipe, and the run that nothing killed."""
    folder = tmp_path_factory.mktemp("kills")
    with contextlib.chdir(folder):
        draw_shapes("data", ShapesOptions(counts={"train": 8, "val": 2}, image_size=(48, 64), max_objects=3))
        recipe = {**TINY, **RECIPE, "schedule": SCHEDULE, "data": {**TINY["data"], "root": str(folder / "data")}}
        Path("tiny.yaml").write_text(yaml.safe_dump(recipe))
        assert main(["train", "--config", "tiny.yaml", "--name", "unbroken"]) == 0
    return folder


def killed_run(folder: Path, choose: random.Random, kills: int) -> None:
    """Train, kill at `kills` random moments, resume each time, till the end."""
    run = folder / "runs" / "tiny"
    for number in range(kills + 1):
        resumed = any(run.glob("*.ckpt"))
        argv = ["--resume", "runs/tiny"] if resumed else ["--config", "tiny.yaml", "--overwrite"]
        before = files_of(run)
        process = start_command(folder / "said", folder, "train", *argv)
        if number < kills:
            while process.is_alive() and files_of(run) == before:  # starting takes longer than all of the training
                time.sleep(0.002)
            time.sleep(choose.uniform(0, 0.3))
            process.kill()
        process.join(200)
        said = (folder / "said").read_text()
        assert process.exitcode in ((0, -signal.SIGKILL) if number < kills else (0,)), said
        if process.exitcode == 0:
            return


def files_of(run: Path) -> set[tuple[str, int]]:
    """The files of a run, and when they were written."""
    found = set()
    for path in run.rglob("*"):
        with contextlib.suppress(OSError):
            found.add((path.name, path.stat().st_mtime_ns))
    return found


def assert_same_run(run: Path, expected: Path) -> None:
    assert (run / "metrics.csv").read_bytes() == (expected / "metrics.csv").read_bytes()
    config, other = ((folder / "config.yaml").read_text() for folder in (run, expected))
    assert config == other.replace("name: unbroken", "name: null")
    names = [{path.name for path in folder.rglob("*") if "tfevents" not in path.name} for folder in (run, expected)]
    assert names[0] == names[1]  # and so no unfinished file, and no lock
    for name in ("last.ckpt", "best.ckpt"):
        one, two = (torch.load(folder / name, weights_only=True) for folder in (run, expected))
        assert one["callbacks"] == two["callbacks"]
        assert one["lr_schedulers"] == two["lr_schedulers"]
        for part in ("state_dict", "ema"):
            assert all(torch.equal(value, two[part][key]) for key, value in one[part].items())


@pytest.mark.parametrize(
    ("seed", "kills"), [(0, 1), *(pytest.param(seed, 6, marks=pytest.mark.slow) for seed in range(1, 7))]
)
def test_a_killed_run_ends_as_one_that_was_not(unbroken, tmp_path, seed, kills):
    for name in ("data", "tiny.yaml"):
        (tmp_path / name).symlink_to(unbroken / name)
    killed_run(tmp_path, random.Random(seed), kills)
    assert_same_run(tmp_path / "runs" / "tiny", unbroken / "runs" / "unbroken")
