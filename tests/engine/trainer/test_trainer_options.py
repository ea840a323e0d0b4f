"""Every option of Lightning's Trainer has a rule, and does what Lightning documents or is refused."""

import csv
import inspect
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Trainer
from watcher import SEEN, epochs

from detkit.engine.checkpoint import read_checkpoint
from detkit.engine.trainer.trainer_options import OPTIONS

FOLDER = Path("runs/tiny")
WATCH = {"class_path": "watcher.Watch"}


@pytest.fixture
def train(recipe, detkit_command):
    """Trains the tiny detector on 12 images, 6 batches an epoch, with these options; gives status and stderr."""

    def run(*argv, sections=None, **options):
        trainer = {"callbacks": [WATCH, *options.pop("callbacks", [])], **options}
        return detkit_command("train", "--config", recipe(trainer=trainer, **(sections or {})), *argv)

    return run


def rows() -> list[dict[str, str]]:
    with open(FOLDER / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_every_option_of_the_trainer_has_a_rule_and_a_reason_where_it_differs():
    assert set(OPTIONS) == set(inspect.signature(Trainer).parameters)
    assert [name for name, option in OPTIONS.items() if option.use != "lightning" and not option.reason] == []


@pytest.mark.parametrize("workers", [0, 1])
def test_overfit_batches_shows_the_same_images_in_each_epoch(train, workers):
    data = {"num_workers": workers, "augmentation": {"class_path": "Augmentation", "init_args": {"brightness": 0.3}}}
    status, said = train(overfit_batches=2, max_epochs=3, sections={"data": data})
    assert (status, said) == (0, "")
    first, *others = epochs("trained")
    assert len(first) == len(set(first)) == 4
    assert others == [first, first]
    assert len({tuple(sums) for sums in epochs("pixels")}) == 1
    assert SEEN["images"] == SEEN["images"][:4] * 3


def test_a_share_of_the_batches_is_overfitted(train):
    status, said = train(overfit_batches=0.5, max_epochs=2)
    assert (status, said) == (0, "")
    assert [len(images) for images in epochs("trained")] == [6, 6]


def test_limits_of_batches(train):
    status, said = train(limit_train_batches=0.5, limit_val_batches=1, max_epochs=2)
    assert (status, said) == (0, "")
    first, second = epochs("trained")
    assert len(first) == len(second) == 6
    assert first != second  # only `overfit_batches` repeats them
    assert SEEN["images"] == SEEN["images"][:2] * 2


def test_without_validation_there_is_no_best_checkpoint(train, caplog):
    status, said = train(limit_val_batches=0, max_epochs=1)
    assert (status, said) == (0, "")
    assert "no best.ckpt" in caplog.text
    assert SEEN["validated"] == []
    assert not (FOLDER / "best.ckpt").exists()
    assert (FOLDER / "last.ckpt").exists()


@pytest.mark.parametrize(
    ("options", "validated"),
    [
        ({"val_check_interval": 2, "max_epochs": 1}, [2, 4, 6]),
        ({"val_check_interval": 0.5, "max_epochs": 1}, [3, 6]),
        ({"val_check_interval": 4, "check_val_every_n_epoch": None, "max_epochs": 1}, [4, 6]),
        ({"check_val_every_n_epoch": 2, "max_epochs": 3}, [12, 18]),
        ({"max_steps": 2}, [2]),
        ({"max_steps": 8}, [6, 8]),
        ({"max_steps": 6}, [6]),
        ({"max_steps": 2, "accumulate_grad_batches": 2}, [2]),
        ({"max_steps": 1, "check_val_every_n_epoch": 5}, [1]),
        ({"max_time": {"milliseconds": 1}, "max_epochs": 2}, [1]),
        ({"limit_train_batches": 1, "max_epochs": 1, "check_val_every_n_epoch": 10}, [1]),
        ({"min_steps": 9, "max_time": {"milliseconds": 1}}, [6, 9]),
        ({"min_epochs": 2, "max_time": {"milliseconds": 1}, "max_epochs": 5}, [6, 12]),
    ],
)
def test_a_run_validates_when_it_is_asked_and_at_its_end(train, options, validated):
    status, said = train(**options)
    assert (status, said) == (0, "")
    assert SEEN["validated"] == validated
    assert SEEN["steps"][-1] == validated[-1] == read_checkpoint(FOLDER / "last.ckpt")["global_step"]
    assert read_checkpoint(FOLDER / "last.ckpt")["callbacks"]["RunCheckpoints"]["best"] is not None
    assert (FOLDER / "best.ckpt").exists()
    logged = rows()
    assert [row["step"] for row in logged if row["val/AP"]] == [str(step - 1) for step in validated]
    assert any(row["train/loss"] for row in logged)


def test_a_run_that_a_metric_of_training_stops_ends_with_a_validation(train):
    stopping = {
        "monitor": "train/loss",
        "patience": 1,
        "mode": "max",
        "min_delta": 1e9,
        "check_on_train_epoch_end": True,
    }
    early = {"class_path": "lightning.pytorch.callbacks.EarlyStopping", "init_args": stopping}
    status, said = train(callbacks=[early], check_val_every_n_epoch=5, max_epochs=5)
    assert (status, said) == (0, "")
    assert SEEN["validated"] == [12]
    assert read_checkpoint(FOLDER / "best.ckpt")["global_step"] == 12


@pytest.mark.parametrize(
    ("options", "steps"),
    [
        ({"log_every_n_steps": 10, "max_epochs": 2}, [5, 11]),
        ({"log_every_n_steps": 4, "max_epochs": 2}, [3, 7, 11]),
        ({"log_every_n_steps": 10, "max_steps": 2}, [1]),
        ({"log_every_n_steps": 0, "max_epochs": 1}, []),
    ],
)
def test_a_short_epoch_is_logged_at_its_last_step(train, options, steps):
    status, said = train(**options)
    assert (status, said) == (0, "")
    assert [int(row["step"]) for row in rows() if row.get("train/loss")] == steps


def test_the_sanity_check_writes_nothing(train):
    status, said = train(num_sanity_val_steps=-1, max_steps=1)
    assert (status, said) == (0, "")
    assert len(SEEN["sane"]) == 5
    assert SEEN["validated"] == [1]
    assert len([row for row in rows() if row["val/AP"]]) == 1


def test_no_logger_writes_no_metrics(train):
    status, said = train(logger=False, max_steps=1)
    assert (status, said) == (0, "")
    assert {path.name for path in FOLDER.iterdir()} >= {"best.ckpt", "last.ckpt", "config.yaml"}
    assert not [path for path in FOLDER.iterdir() if path.name.startswith(("metrics", "events"))]


def test_profiler_logger_callbacks_and_plugins_of_lightning(train, caplog):
    name = "lightning.pytorch"
    callbacks = [
        {"class_path": f"{name}.callbacks.ModelCheckpoint", "init_args": {"save_last": True}},
        {"class_path": f"{name}.callbacks.ModelSummary"},
        {"class_path": f"{name}.callbacks.LearningRateMonitor"},
        {"class_path": f"{name}.callbacks.TQDMProgressBar"},
    ]
    logger = {"class_path": f"{name}.loggers.CSVLogger", "init_args": {"save_dir": "csv"}}
    status, said = train(
        callbacks=callbacks,
        logger=logger,
        profiler="simple",
        plugins={"class_path": f"{name}.plugins.environments.LightningEnvironment"},
        max_steps=1,
        deterministic="warn",
        benchmark=False,
        inference_mode=False,
        detect_anomaly=True,
        gradient_clip_val=0.1,
        gradient_clip_algorithm="value",
    )
    torch.use_deterministic_algorithms(False)
    torch.autograd.set_detect_anomaly(False)
    assert status == 0, said
    assert "run_training_batch" in caplog.text
    assert list((FOLDER / "checkpoints").glob("last*.ckpt"))
    assert list(Path("csv").rglob("metrics.csv"))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_epochs", 0),
        ("max_epochs", -2),
        ("max_steps", 0),
        ("min_epochs", -1),
        ("limit_train_batches", 0),
        ("limit_train_batches", 0.0),
        ("limit_train_batches", 1.5),
        ("limit_val_batches", -1),
        ("limit_test_batches", 3),
        ("limit_predict_batches", 0.5),
        ("overfit_batches", -1),
        ("overfit_batches", 2.5),
        ("val_check_interval", 0),
        ("val_check_interval", 7.5),
        ("val_check_interval", 100),
        ("check_val_every_n_epoch", 0),
        ("num_sanity_val_steps", -2),
        ("log_every_n_steps", -1),
        ("accumulate_grad_batches", 0),
        ("gradient_clip_val", -1.0),
        ("gradient_clip_val", float("nan")),
        ("gradient_clip_algorithm", "median"),
        ("num_nodes", 0),
        ("devices", 0),
        ("devices", "many"),
        ("accelerator", "abacus"),
        ("strategy", "ddp_spawn"),
        ("strategy", "nothing"),
        ("precision", "64-true"),
        ("profiler", "nothing"),
        ("max_time", "tomorrow"),
        ("max_time", {"seconds": 0}),
        ("max_time", "00:00:00:00"),
    ],
)
def test_a_wrong_value_is_one_sentence_before_anything_is_written(train, option, value):
    status, said = train(**{option: value})
    assert status == 2, said
    assert said.count("\n") == 1, said
    assert option in said or str(value) in said
    assert not FOLDER.exists()


@pytest.mark.parametrize("option", sorted(name for name, option in OPTIONS.items() if option.use == "own"))
def test_an_option_that_detkit_sets_says_why(train, option):
    in_a_file = len(option) % 2  # some in the recipe, some on the command line
    status, said = train(**{option: 1}) if in_a_file else train(f"--trainer.{option}", "1")
    assert status == 2
    assert OPTIONS[option].reason in said
    assert said.count("\n") == 1
