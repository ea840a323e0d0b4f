"""Runs that need processes of their own: two that share the work, and one that is killed."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from forked import start_command

from detkit.engine.checkpoint import read_checkpoint

REPOSITORY = Path(__file__).resolve().parents[2]
ALTERNATING = {"class_path": "toy_learners.TakesTurnsAlike"}


def assert_same_weights(one: dict, other: dict) -> None:
    assert one["global_step"] == other["global_step"] == 6
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(other["state_dict"][name], value, rtol=1e-4, atol=1e-6)


def assert_same_score(one: dict, other: dict) -> None:
    """Five validation images over two processes: each counts once, or AP would differ."""
    best = [content["callbacks"]["RunCheckpoints"]["best"] for content in (one, other)]
    assert best[0] == pytest.approx(best[1], abs=1e-6)
    assert len(other["random_states"]) == 2


@pytest.mark.parametrize(
    ("strategy", "sections"),
    [
        pytest.param("ddp", {"trainer": {"num_sanity_val_steps": 2}}, id="one optimizer"),
        pytest.param(
            "ddp_find_unused_parameters_true", {"learner": ALTERNATING}, id="two optimizers", marks=pytest.mark.slow
        ),
    ],
)
def test_two_processes_learn_what_one_learns_with_their_batches(strategy, sections, recipe, detkit_command, tmp_path):
    path = recipe(**sections)
    options = ("--trainer.devices", "2", "--trainer.strategy", strategy)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free.getsockname()[1])}
    two = [
        start_command(
            tmp_path / f"said{rank}", tmp_path, "train", "--config", path, "--name", "two", *options,
            LOCAL_RANK=str(rank), OMP_NUM_THREADS="1", **meeting,
        )
        for rank in range(2)
    ]  # fmt: skip
    status, said = detkit_command("train", "--config", path, "--name", "one", "--data.batch_size", "4")
    assert status == 0, said
    for rank, process in enumerate(two):
        process.join(400)
        assert process.exitcode == 0, (tmp_path / f"said{rank}").read_text()
    one, both = read_checkpoint("runs/one/last.ckpt"), read_checkpoint("runs/two/last.ckpt")
    assert_same_weights(one, both)
    assert_same_score(one, both)


@pytest.mark.slow  # each process imports torch
def test_a_script_starts_the_second_process_itself(recipe, detkit_command):
    path = recipe()
    paths = [str(REPOSITORY), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    options = ["--name", "two", "--trainer.devices", "2", "--trainer.strategy", "ddp"]
    command = [sys.executable, REPOSITORY / "tools" / "train.py", "--config", path, *options]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr
    status, said = detkit_command("train", "--config", path, "--name", "one", "--data.batch_size", "4")
    assert status == 0, said
    one, both = read_checkpoint("runs/one/last.ckpt"), read_checkpoint("runs/two/last.ckpt")
    assert_same_weights(one, both)
    assert_same_score(one, both)


def test_a_killed_run_leaves_a_readable_checkpoint(recipe, tmp_path):
    last = tmp_path / "runs" / "tiny" / "last.ckpt"
    config = recipe(save_every_n_steps=1)
    process = start_command(tmp_path / "said", tmp_path, "train", "--config", config, "--trainer.max_epochs", "100000")
    try:
        end = time.monotonic() + 400
        while not last.exists() and process.is_alive() and time.monotonic() < end:
            time.sleep(0.05)
        time.sleep(0.3)
    finally:
        process.kill()
        process.join(60)
    assert process.exitcode == -signal.SIGKILL, (tmp_path / "said").read_text()
    assert read_checkpoint(last)["global_step"] >= 1


def test_evaluation_without_a_model(shapes_root, tmp_path, detkit_command):
    truth = shapes_root / "annotations" / "instances_val.json"
    objects = [one for one in json.loads(truth.read_text())["annotations"] if not one["iscrowd"]]
    entries = [{key: entry[key] for key in ("image_id", "category_id", "bbox")} | {"score": 1.0} for entry in objects]
    detections, out = tmp_path / "detections.json", tmp_path / "metrics.json"
    detections.write_text(json.dumps(entries))
    status, said = detkit_command("eval", "--annotations", truth, "--detections", detections, "--out", out)
    assert status == 0, said
    assert json.loads(out.read_text())["bbox"]["AP"] == pytest.approx(1.0)
