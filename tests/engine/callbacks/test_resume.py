"""A run that was stopped and went on is the run that was not."""

import os
import shutil
import signal
from pathlib import Path

import pytest
import torch
from recipes import FASTER_RCNN

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.callbacks.resume import ExactResume
from detkit.engine.checkpoint import read_checkpoint, write_checkpoint
from detkit.engine.module import DetectionModule

EPOCHS, STEPS = 3, 3  # steps of an epoch


class Crash(Exception):
    pass


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Few images, and the finished run to compare with by its options."""
    counts = {"train": 2 * STEPS, "val": 3}
    root = draw_shapes(tmp_path_factory.mktemp("resume") / "data", ShapesOptions(counts=counts, image_size=(48, 64)))
    return root, {}


@pytest.fixture
def rcnn(recipe, data):
    """The recipe of a model with random sampling, batch norm, momentum and a moving average."""
    return recipe(
        "rcnn",
        model=FASTER_RCNN,
        data={"root": str(data[0])},
        schedule={"class_path": "WarmupCosine", "init_args": {"warmup_steps": 3}},
        ema=0.9,
        validation_loss=True,
        trainer={"max_epochs": EPOCHS},
    )


@pytest.fixture
def unbroken(rcnn, data, detkit_command):
    """The folder of the run that nothing stopped."""

    def run(*options: str) -> Path:
        finished = data[1]
        if options not in finished:
            status, said = detkit_command("train", "--config", rcnn, "--name", "unbroken", *options)
            assert status == 0, said
            finished[options] = data[0].parent / f"unbroken{len(finished)}"
            shutil.move("runs/unbroken", finished[options])
        return finished[options]

    return run


def in_step(step: int, act) -> None:
    return lambda module, stage: stage == "training_step" and module.global_step == step and act()


def in_validation(epoch: int, act) -> None:
    return lambda module, stage: stage == "validation_step" and module.current_epoch == epoch and act()


def terminate() -> None:
    os.kill(os.getpid(), signal.SIGTERM)


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


def crash() -> None:
    raise Crash


def stopped(monkeypatch, command, what, *argv: str) -> int | None:
    """Run a command until `what` stops it."""
    with monkeypatch.context() as patch:
        for stage in ("training_step", "validation_step"):
            original = getattr(DetectionModule, stage)

            def step(self, batch, batch_idx, original=original, stage=stage):
                what(self, stage)
                return original(self, batch, batch_idx)

            patch.setattr(DetectionModule, stage, step)
        try:
            return command(*argv)[0]
        except Crash:
            return None


def assert_same(folder: Path, expected: Path) -> None:
    one, other = (torch.load(path / "last.ckpt", weights_only=True) for path in (folder, expected))
    assert one["global_step"] == other["global_step"]
    assert one["epoch"] == other["epoch"]
    assert one["callbacks"] == other["callbacks"]
    assert one["lr_schedulers"] == other["lr_schedulers"]
    for part in ("state_dict", "ema"):
        different = [name for name, value in other[part].items() if not torch.equal(value, one[part][name])]
        assert different == []
    assert (folder / "metrics.csv").read_text() == (expected / "metrics.csv").read_text()


@pytest.mark.parametrize(
    ("what", "status"),
    [
        (in_step(STEPS + 1, terminate), 128 + signal.SIGTERM),
        (in_step(1, interrupt), 128 + signal.SIGINT),
        (in_step(2 * STEPS - 1, terminate), 128 + signal.SIGTERM),
        (in_validation(1, terminate), 128 + signal.SIGTERM),
        (in_step(STEPS + 1, crash), None),
        (in_validation(1, crash), None),
    ],
    ids=["within an epoch", "interrupted", "last step of an epoch", "in validation", "crash", "crash in validation"],
)
def test_a_stopped_run_goes_on_as_if_it_had_not_been(monkeypatch, rcnn, unbroken, detkit_command, what, status):
    expected = unbroken()
    assert stopped(monkeypatch, detkit_command, what, "train", "--config", rcnn) == status
    assert detkit_command("train", "--resume", "runs/rcnn") == (0, "")
    assert_same(Path("runs/rcnn"), expected)


@pytest.mark.parametrize(
    "options",
    [
        ("--save_every_n_steps", "1", "--data.num_workers", "1"),
        pytest.param(("--trainer.accumulate_grad_batches", "2"), marks=pytest.mark.slow),
        pytest.param(("--trainer.max_steps", "8", "--trainer.max_epochs", "-1"), marks=pytest.mark.slow),
        ("--trainer.val_check_interval", "0.5"),
    ],
    ids=["steps and workers", "accumulation", "max_steps", "validation within epochs"],
)
def test_whatever_the_options(monkeypatch, rcnn, unbroken, detkit_command, options):
    expected = unbroken(*options)
    last = 3 if "--trainer.accumulate_grad_batches" in options else STEPS + 2
    stopped(monkeypatch, detkit_command, in_step(last, crash), "train", "--config", rcnn, *options)
    assert detkit_command("train", "--resume", "runs/rcnn") == (0, "")
    assert_same(Path("runs/rcnn"), expected)


def test_the_best_checkpoint_can_be_resumed_too(monkeypatch, rcnn, unbroken, detkit_command):
    expected = unbroken()
    stopped(monkeypatch, detkit_command, in_step(STEPS + 1, crash), "train", "--config", rcnn)
    os.remove("runs/rcnn/last.ckpt")
    assert detkit_command("train", "--resume", "runs/rcnn/best.ckpt") == (0, "")
    assert_same(Path("runs/rcnn"), expected)


def test_a_signal_says_how_to_go_on(monkeypatch, recipe, detkit_command):
    said = []

    def command(*argv):
        status, text = detkit_command(*argv)
        said.append(text)
        return status, text

    assert stopped(monkeypatch, command, in_step(1, terminate), "train", "--config", recipe()) == 143
    assert "runs/tiny/last.ckpt holds step 2; go on with --resume runs/tiny" in said[0]
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


def test_wrong_resumes(run_folder, detkit_command, tmp_path):
    assert "nowhere does not exist" in detkit_command("train", "--resume", "nowhere")[1]
    other = draw_shapes(tmp_path / "other", ShapesOptions(counts={"train": 2, "val": 2}, image_size=(48, 64)))
    for path in other.glob("annotations/*.json"):
        path.write_text(path.read_text().replace('"ring"', '"wheel"'))
    status, said = detkit_command("train", "--resume", run_folder, "--data.root", other)
    assert status == 2
    assert "ring" in said
    assert "wheel" in said
    status, said = detkit_command("train", "--resume", run_folder, "--model.width", "4")
    assert status == 2
    assert "do not fit the TinyDetector" in said
    content = read_checkpoint(run_folder / "last.ckpt")
    write_checkpoint({key: content[key] for key in ("detkit", "state_dict")}, run_folder / "last.ckpt")
    status, said = detkit_command("train", "--resume", run_folder)
    assert status == 2
    assert "--start_from" in said
    (run_folder / "last.ckpt").write_bytes(b"PK")
    status, said = detkit_command("train", "--resume", run_folder)
    assert status == 2
    assert "last.ckpt is not a checkpoint" in said


def test_an_interrupt_before_the_first_step_is_said_too(monkeypatch, recipe, detkit_command):
    def interrupted(*_):
        raise KeyboardInterrupt

    usual = signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(ExactResume, "on_fit_start", interrupted)
    try:
        assert detkit_command("train", "--config", recipe()) == (128 + signal.SIGINT, "detkit: stopped\n")
    finally:
        signal.signal(signal.SIGINT, usual)  # which Lightning ignores from then on
