"""A number that no run can use is refused by its key, before anything is built."""

from pathlib import Path

import pytest

from detkit.engine.config.values.ranges import RANGES, check_values
from detkit.errors import InputError


def test_each_name_has_one_range():
    names = [name for names in RANGES.values() for name in names]
    assert len(names) == len(set(names))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("seed", "-1"),
        ("seed", str(2**40)),
        ("optimizer.init_args.lr", ".nan"),
        ("optimizer.init_args.lr", ".inf"),
        ("optimizer.init_args.lr", "-0.1"),
        ("optimizer.init_args.momentum", "-1"),
        ("optimizer.init_args.weight_decay", ".nan"),
        ("data.batch_size", "0"),
        ("data.eval_batch_size", "-1"),
        ("data.num_workers", "-1"),
        ("data.mixing_epochs", "-1"),
        ("data.augmentation.init_args.horizontal_flip", "1.5"),
        ("data.augmentation.init_args.min_visibility", ".nan"),
        ("lr_batch_size", "0"),
        ("pictures", "-1"),
        ("save_every_n_steps", "0"),
        ("data.batch_size", str(2**31)),
        ("lr_batch_size", str(10**30)),
    ],
)
def test_a_number_out_of_range_is_named_with_its_key(recipe, detkit_command, option, value):
    status, said = detkit_command("train", "--config", recipe(), f"--{option}", value)
    assert status == 2, said
    assert said.count("\n") == 1
    assert option in said
    assert not Path("runs/tiny").exists()


@pytest.mark.parametrize(
    ("class_path", "arguments"),
    [
        ("detkit.heads.NMS", {"score_threshold": 1.5}),
        ("detkit.heads.NMS", {"iou_threshold": -0.1}),
        ("detkit.heads.NMS", {"detections": 0}),
        ("detkit.preprocess.ShortestEdge", {"min_size": 0}),
        ("detkit.preprocess.Square", {"size": [320, -1]}),
        ("detkit.engine.optim.WarmupCosine", {"warmup_steps": float("inf")}),
        ("detkit.data.Mosaic", {"probability": 2}),
        ("torch.optim.AdamW", {"betas": [-0.9, 0.999]}),
    ],
)
def test_numbers_of_classes_at_any_depth(class_path, arguments):
    config = {
        "model": {"class_path": "X", "init_args": {"parts": [{"class_path": class_path, "init_args": arguments}]}}
    }
    with pytest.raises(InputError, match=rf"^model\.init_args\.parts\.init_args\.{next(iter(arguments))} must be "):
        check_values(config)


def test_arguments_of_other_classes_are_theirs_apart_from_nan():
    config = {
        "model": {"class_path": "mine.Model", "init_args": {"score_threshold": 50, "size": -1, "limit": float("inf")}}
    }
    check_values(config)
    config["model"]["init_args"]["limit"] = float("nan")
    with pytest.raises(InputError, match=r"model\.init_args\.limit must be a finite number, got nan"):
        check_values(config)


def test_an_optimizer_that_refuses_its_arguments_is_a_sentence(recipe, detkit_command):
    optimizer = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.1, "nesterov": True, "dampening": 0.5}}
    status, said = detkit_command("train", "--config", recipe(optimizer=optimizer))
    assert status == 2
    assert said == "detkit: optimizer: Nesterov momentum requires a momentum and zero dampening\n"


@pytest.mark.parametrize("name", ["WandbLogger", "MLFlowLogger", "CometLogger"])
def test_a_logger_that_is_not_installed_says_what_to_install(recipe, detkit_command, name):
    status, said = detkit_command(
        "train", "--config", recipe(), "--trainer.logger", f"lightning.pytorch.loggers.{name}"
    )
    assert status == 2, said
    assert said.count("\n") == 1
    assert "pip install" in said
