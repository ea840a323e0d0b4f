"""Until its first batch has gone through, a training leaves the folder of its run as it was."""

import contextlib
import copy
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from recipes import TINY
from tiny_detector import TinyDetector

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.checkpoint import read_checkpoint, write_checkpoint
from detkit.engine.cli import main
from detkit.errors import InputError


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def finished(shapes_root, tmp_path_factory):
    """A folder with data and a run of one epoch on them, with all files that a run can have."""
    folder = tmp_path_factory.mktemp("finished")
    shutil.copytree(shapes_root, folder / "copy")
    config = copy.deepcopy(TINY) | {"pictures": 1, "ema": 0.9}
    config["data"]["root"] = "copy"
    config["trainer"]["max_epochs"] = 1
    (folder / "tiny.yaml").write_text(yaml.safe_dump(config))
    with contextlib.chdir(folder):
        assert main(["train", "--config", "tiny.yaml"]) == 0
    return folder


@pytest.fixture
def run(finished, tmp_path, monkeypatch):
    """The run in the working folder, which a test can spoil. It stays where its recipe says that the data are."""
    shutil.copytree(finished, tmp_path / "whole")
    monkeypatch.chdir(finished)
    yield Path("runs/tiny")
    for path in finished.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(tmp_path / "whole", finished, dirs_exist_ok=True)


@pytest.fixture
def data(run):
    """Its data."""
    return Path("copy")


def other_classes(run: Path, data: Path) -> None:
    for path in data.glob("annotations/*.json"):
        path.write_text(path.read_text().replace('"ring"', '"wheel"'))


def fewer_classes(run: Path, data: Path) -> None:
    other = draw_shapes(data.parent / "fewer", ShapesOptions(counts={"train": 4, "val": 2}, names=["disc", "box"]))
    shutil.rmtree(data)
    other.rename(data)


def gone(run: Path, data: Path) -> None:
    shutil.rmtree(data)


def broken_image(run: Path, data: Path) -> None:
    for path in (data / "images" / "train").iterdir():
        path.write_bytes(path.read_bytes()[:200])


def cut_off(run: Path, data: Path) -> None:
    os.truncate(run / "last.ckpt", 5000)


def empty(run: Path, data: Path) -> None:
    (run / "last.ckpt").write_bytes(b"")


def of_other_optimizer(run: Path, data: Path) -> None:
    saved = read_checkpoint(run / "last.ckpt")
    saved["optimizer_states"][0]["param_groups"].append({"params": [99], "lr": 0.1})
    write_checkpoint(saved, run / "last.ckpt")


def without_loops(run: Path, data: Path) -> None:
    saved = read_checkpoint(run / "last.ckpt")
    write_checkpoint({key: saved[key] for key in ("detkit", "state_dict")}, run / "last.ckpt")


def not_metrics(run: Path, data: Path) -> None:
    (run / "metrics.csv").write_text("a,b\r\n1,2\r\n")


@pytest.mark.parametrize(
    ("spoil", "options", "words"),
    [
        (None, ["--model.width", "4"], "do not fit the TinyDetector"),
        (None, ["--modell.width", "4"], "modell"),
        (None, ["--optimizer", "Adam"], r"optimizer\.class_path was torch\.optim\.SGD and is now torch\.optim\.Adam"),
        (None, ["--seed", "3"], "seed was 0 and is now 3"),
        (None, ["--name", "other"], "name was None and is now other"),
        (None, ["--start_from", "other.ckpt"], "start_from was None"),
        (None, ["--model.weights", "DEFAULT"], r"model\.init_args\.weights .* the weights come from the checkpoint"),
        (None, ["--overwrite"], "give one of them"),
        (None, ["--ema", "7"], "ema"),
        (other_classes, [], "wheel"),
        (fewer_classes, [], "2 "),
        (gone, [], "copy"),
        (broken_image, [], r"\.(jpg|png)"),
        (cut_off, [], r"last\.ckpt is not a checkpoint"),
        (empty, [], r"last\.ckpt is not a checkpoint"),
        (of_other_optimizer, [], "other groups of parameters"),
        (without_loops, [], "--start_from"),
        (not_metrics, [], r"metrics\.csv has no column step"),
    ],
)
def test_a_resume_that_fails_costs_nothing(run, data, detkit_command, spoil, options, words):
    if spoil:
        spoil(run, data)
    before = content(run)
    status, said = detkit_command("train", "--resume", run, "--trainer.max_epochs", "2", *options)
    assert status == 2
    assert re.search(words, said), said
    assert said.count("\n") == 1, said
    assert content(run) == before


def test_a_finished_run_stays_as_it_is(run, detkit_command, caplog):
    before = content(run)
    assert detkit_command("train", "--resume", run) == (0, "")
    assert "is a finished run: raise --trainer.max_epochs" in caplog.text
    assert content(run) == before


def test_a_new_run_that_fails_leaves_nothing(run, data, detkit_command):
    broken_image(run, data)
    assert detkit_command("train", "--config", "tiny.yaml", "--runs", "others/runs")[0] == 2
    assert not Path("others").exists()


def test_a_replacement_that_fails_costs_nothing(run, data, detkit_command):
    broken_image(run, data)
    before = content(run)
    status, _ = detkit_command("train", "--config", "tiny.yaml", "--overwrite")
    assert (status, content(run)) == (2, before)


def test_an_error_in_the_first_step_costs_nothing_later_ones_stop_the_run(run, detkit_command, monkeypatch):
    losses, calls = TinyDetector.compute_losses, []

    def spoilt(self, images, targets):
        calls.append(1)
        if len(calls) in (1, 4):
            raise InputError("this batch is wrong")
        return losses(self, images, targets)

    monkeypatch.setattr(TinyDetector, "compute_losses", spoilt)
    before = content(run)
    argv = ("train", "--resume", run, "--trainer.max_epochs", "2")
    assert detkit_command(*argv) == (2, "detkit: this batch is wrong\n")
    assert content(run) == before
    assert detkit_command(*argv) == (2, "detkit: this batch is wrong\n")
    assert yaml.safe_load((run / "config.yaml").read_text())["trainer"]["max_epochs"] == 2
    assert read_checkpoint(run / "last.ckpt")["global_step"] == 6
    assert detkit_command("train", "--resume", run)[0] == 0


def test_a_run_without_a_checkpoint_says_how_to_start_again(run, detkit_command):
    for name in ("last.ckpt", "best.ckpt"):
        (run / name).unlink()
    status, said = detkit_command("train", "--resume", run)
    assert (status, "has no checkpoint" in said) == (2, True)
    command = said.partition("start it again with ")[2].rstrip(".\n").split()
    assert detkit_command("train", "--config", "tiny.yaml")[1].endswith(
        "ended before its first checkpoint: start it again with --overwrite, or choose another --name.\n"
    )
    assert detkit_command("train", *command) == (0, "")
    assert (run / "last.ckpt").is_file()


def test_what_killed_runs_have_left_is_removed(run, detkit_command):
    old = [
        run / name for name in (".last.ckpt.77.unfinished", ".best.ckpt.a8f3", "pictures/.epoch_001.png.7.unfinished")
    ]
    for path in old:
        path.write_bytes(b"half")
    assert detkit_command("train", "--resume", run, "--trainer.max_epochs", "2")[0] == 0
    assert not [path for path in run.rglob(".*")]


def test_events_after_the_step_of_a_resume_are_not_shown_twice(run, detkit_command):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    assert detkit_command("train", "--resume", run, "--trainer.max_epochs", "2")[0] == 0
    events = EventAccumulator(str(run)).Reload()
    assert [event.step for event in events.Scalars("lr")] == list(range(12))


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes rights")
def test_a_folder_that_cannot_be_written(run, detkit_command):
    mount = subprocess.run(["mount", "--bind", "-o", "ro", run, run], capture_output=True)
    if mount.returncode:
        pytest.skip("this machine mounts nothing")
    try:
        if subprocess.run(["mount", "-o", "remount,bind,ro", run], capture_output=True).returncode:
            pytest.skip("this machine mounts nothing read-only")
        before = content(run)
        status, said = detkit_command("train", "--resume", run, "--trainer.max_epochs", "2")
        assert (status, "cannot be written" in said) == (2, True)
        assert content(run) == before
    finally:
        subprocess.run(["umount", run], check=True)
