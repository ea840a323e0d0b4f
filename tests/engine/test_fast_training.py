"""What lets classifiers train fast: rates by batch size, growing images, the time it takes; several nodes."""

import csv
import importlib
import itertools
import os
import socket
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from detkit.data import ShapesOptions, draw_shapes
from detkit.engine.callbacks.progressive_resizing import ProgressiveResizing
from detkit.engine.checkpoint import read_checkpoint
from detkit.engine.module import DetectionModule
from detkit.errors import InputError
from detkit.preprocess import CenterCrop, ShortestEdge, Stretch

REPOSITORY = Path(__file__).resolve().parents[2]

# Layer norm, so that a batch's parts do not depend on each other.
TRUNK = {"class_path": "TimmBackbone", "init_args": {"name": "test_convnext", "stages": [4]}}
STRETCH = {"class_path": "Stretch", "init_args": {"size": [32, 32]}}
CLASSIFIER = {"class_path": "Classifier", "init_args": {"net": TRUNK, "preprocess": STRETCH}}
LARS = {"class_path": "detkit.engine.optim.lars.LARS"}
LARS["init_args"] = {"lr": 2.0, "weight_decay": 1e-4, "trust_coefficient": 0.02}


@pytest.fixture(scope="module")
def one_object(tmp_path_factory) -> Path:
    options = ShapesOptions({"train": 12, "val": 5}, (48, 64), max_objects=1, crowd_probability=0)
    return draw_shapes(tmp_path_factory.mktemp("data") / "shapes", options)


@pytest.fixture
def fast_recipe(recipe, one_object):
    """Writes the recipe of a small classifier that trains by LARS."""

    def write(**sections):
        return recipe(
            model=CLASSIFIER,
            optimizer=LARS,
            lr_batch_size=8,
            schedule={"class_path": "WarmupPolynomial", "init_args": {"warmup_steps": 0.25, "warmup_factor": 0.1}},
            data={"root": str(one_object), "image_class": "only"},
            **sections,
        )

    return write


@pytest.mark.parametrize(("processes", "accumulated"), [(1, 1), (4, 1), (2, 8)])
def test_the_rate_is_in_proportion_to_all_images_of_a_step(processes, accumulated):
    model = torch.nn.Linear(3, 2)
    module = DetectionModule(model, lambda groups: torch.optim.SGD(groups, lr=0.1), lr_batch_size=256)
    module._trainer = SimpleNamespace(
        datamodule=SimpleNamespace(batch_size=32), world_size=processes, accumulate_grad_batches=accumulated
    )
    optimizer = module.configure_optimizers()["optimizer"]
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.1 * 32 * processes * accumulated / 256)


def _logged(run):
    with open(Path("runs") / run / "metrics.csv") as file:
        rows = list(csv.DictReader(file))
    return [float(row["lr"]) for row in rows if row["lr"]], [row["val/classification/top1"] for row in rows]


@pytest.mark.slow
def test_two_nodes_learn_what_one_process_learns_with_their_batches(fast_recipe, detkit_command):
    """Two agents of torchrun on this machine, each with a process of its own, as on two machines."""
    path = fast_recipe()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY), "OMP_NUM_THREADS": "1"}
    nodes = [
        subprocess.Popen(
            [
                sys.executable, "-m", "torch.distributed.run", "--nnodes", "2", "--nproc_per_node", "1",
                "--node_rank", str(rank), "--master_addr", "127.0.0.1", "--master_port", str(port),
                str(REPOSITORY / "tools" / "train.py"), "--config", path, "--name", "two",
                "--trainer.num_nodes", "2", "--trainer.devices", "1", "--trainer.strategy", "ddp",
            ],
            env=environment, stderr=subprocess.PIPE, text=True,
        )
        for rank in range(2)
    ]  # fmt: skip
    status, said = detkit_command("train", "--config", path, "--name", "one", "--data.batch_size", "4")
    assert status == 0, said
    for node in nodes:
        said = node.communicate(timeout=400)[1]
        assert node.returncode == 0, said
    one, both = read_checkpoint("runs/one/last.ckpt"), read_checkpoint("runs/two/last.ckpt")
    assert one["global_step"] == both["global_step"] == 6
    for name, value in one["state_dict"].items():
        torch.testing.assert_close(both["state_dict"][name], value, rtol=1e-4, atol=1e-6)
    (rates, accuracies), (both_rates, both_accuracies) = _logged("one"), _logged("two")
    assert both_rates == pytest.approx(rates)
    assert max(rates) == pytest.approx(2.0 * 4 / 8, rel=0.3)
    assert both_accuracies == accuracies
    # Steps that LARS took, or all of this would show nothing.
    moved = read_checkpoint("runs/one/last.ckpt")["optimizer_states"][0]["state"]
    assert all(state["momentum_buffer"].abs().sum() > 0 for state in moved.values())


def _sides(callback, preprocess, epochs):
    module = SimpleNamespace(model=SimpleNamespace(preprocess=preprocess))
    trainer = SimpleNamespace(current_epoch=0)
    callback.on_train_start(trainer, module)
    seen = []
    for epoch in range(epochs):
        trainer.current_epoch = epoch
        callback.on_train_batch_start(trainer, module, None, 0)
        seen.append(module.model.preprocess([torch.zeros(3, 40, 60)]).images.shape[-2:])
        callback.on_train_batch_end(trainer, module, None, None, 0)
        assert module.model.preprocess is preprocess
    return [side for side, other in seen if side == other]


@pytest.mark.parametrize("preprocess", [CenterCrop((64, 64), 72), Stretch((64, 64))])
def test_images_grow_with_the_epochs(preprocess):
    callback = ProgressiveResizing([(0, 16), (2, 32), (3, 96)])
    assert _sides(callback, preprocess, 5) == [16, 16, 32, 96, 96]


def test_a_training_image_is_taken_whole():
    """A square is not cut once more: its corners are still in it."""
    crop = CenterCrop((32, 32), 40, mean=(0, 0, 0), std=(1, 1, 1))
    image = torch.zeros(3, 64, 64)
    image[:, :8, :8] = 1.0
    module = SimpleNamespace(model=SimpleNamespace(preprocess=crop))
    callback = ProgressiveResizing([(0, 16)])
    callback.on_train_start(None, module)
    callback.on_train_batch_start(SimpleNamespace(current_epoch=0), module, None, 0)
    seen = module.model.preprocess([image]).images
    assert seen.shape == (1, 3, 16, 16)
    assert seen[0, 0, 0, 0] > 0.9
    assert seen.mean().item() == pytest.approx(image.mean().item(), abs=0.01)


def test_images_of_any_size_grow_by_their_shorter_side():
    preprocess = ShortestEdge(64, 128)
    module = SimpleNamespace(model=SimpleNamespace(preprocess=preprocess))
    callback = ProgressiveResizing([(0, 16)])
    callback.on_train_start(None, module)
    callback.on_train_batch_start(SimpleNamespace(current_epoch=0), module, None, 0)
    assert module.model.preprocess([torch.zeros(3, 64, 96)]).sizes == [(16, 24)]
    callback.on_train_batch_end(None, module, None, None, 0)
    assert module.model.preprocess is preprocess


@pytest.mark.parametrize("sides", [[], [(1, 64)], [(0, 64), (0, 96)], [(0, 64), (5, 96), (3, 128)], [(0, 0)]])
def test_epochs_must_increase(sides):
    with pytest.raises(InputError, match="increasing epochs"):
        ProgressiveResizing(sides)


GROWING = {"class_path": "detkit.engine.callbacks.progressive_resizing.ProgressiveResizing"}
GROWING["init_args"] = {"sides": [[0, 16], [1, 32]]}
TIMED = {"class_path": "detkit.engine.callbacks.time_to_accuracy.TimeToAccuracy"}


def _times(run):
    with open(Path("runs") / run / "time_to_accuracy.csv") as file:
        return list(csv.DictReader(file))


def test_time_counts_on_in_a_resumed_run(fast_recipe, detkit_command, monkeypatch):
    readings = itertools.count(step=60)  # a minute passes between two looks at the clock
    clock = SimpleNamespace(monotonic=lambda: next(readings))
    module, name = TIMED["class_path"].rsplit(".", 1)
    timed = getattr(importlib.import_module(module), name)
    monkeypatch.setattr(sys.modules[timed.__module__], "time", clock)
    config = fast_recipe(trainer={"callbacks": [GROWING, TIMED], "max_epochs": 1})
    status, said = detkit_command("train", "--config", config)
    assert status == 0, said
    (before,) = _times("tiny")
    assert before.keys() >= {"epoch", "step", "hours", "val/classification/top1", "val/classification/top5"}
    status, said = detkit_command("train", "--resume", "runs/tiny", "--trainer.max_epochs", "3")
    assert status == 0, said
    rows = _times("tiny")
    assert rows[0] == before
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    minutes = [60 * float(row["hours"]) for row in rows]
    assert minutes[0] == pytest.approx(1)
    assert minutes[0] < minutes[1] < minutes[2]


def test_a_run_ends_at_its_goal_in_mixed_precision_too(fast_recipe, detkit_command):
    goal = TIMED | {"init_args": {"goal": 0.0}}
    trainer = {"callbacks": [goal], "max_epochs": 3, "precision": "bf16-mixed"}
    status, said = detkit_command("train", "--config", fast_recipe(trainer=trainer))
    assert status == 0, said
    assert len(_times("tiny")) == 1


def test_a_number_that_there_is_not(fast_recipe, detkit_command):
    wrong = TIMED | {"init_args": {"metric": "val/AP"}}
    status, said = detkit_command("train", "--config", fast_recipe(trainer={"callbacks": [wrong], "max_epochs": 1}))
    assert status == 2
    assert "val/AP" in said
    assert "val/classification/top1" in said
