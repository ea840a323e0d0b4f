"""Settings that are changed at a resume: used from the next step on, or refused."""

import csv
import math
from pathlib import Path

import pytest
from test_resume import crash, in_step, stopped

from detkit.engine.config.parser import command_parser
from detkit.engine.config.training_arguments import COMMAND_ONLY, add_training_arguments
from detkit.engine.run.changes import RULES, Change, check_changes, differences, rule_of
from detkit.errors import InputError

COSINE = {"class_path": "WarmupCosine", "init_args": {"warmup_steps": 4}}


def test_every_setting_has_a_rule():
    parser = command_parser("train", "", "")
    add_training_arguments(parser)
    known = [key for key in parser.get_defaults().keys() if not key.startswith("__")]  # noqa: SIM118 (no dict)
    without = {key for key in known if rule_of(key) is None and rule_of(f"{key}.class_path") is None}
    without -= {*COMMAND_ONLY, "evaluate", "keypoint_sigmas"}
    assert without == set()
    assert rule_of("unheard_of") is None
    with pytest.raises(InputError, match=r"unheard_of was 1 and is now 2, .*no rule says that it could change"):
        check_changes({"unheard_of": 1}, {"unheard_of": 2}, Path("runs/a/last.ckpt"))


def test_every_rule_is_used():
    assert len({rule.keys for rule in RULES}) == len(RULES)


def test_differences_are_named_by_their_keys():
    before = {"optimizer": {"class_path": "a.SGD", "init_args": {"lr": 0.1}}, "ema": None, "lr_factors": {"a": 0.1}}
    now = {"optimizer": {"class_path": "a.SGD", "init_args": {"lr": 0.2, "new": 1}}, "ema": 0.9, "lr_factors": {"b": 2}}
    assert list(differences(before, now)) == [
        Change("optimizer.init_args.lr", 0.1, 0.2),
        Change("ema", None, 0.9),
        Change("lr_factors.a", 0.1, None),
        Change("lr_factors.b", None, 2),
    ]
    assert list(differences({"schedule": None}, {"schedule": COSINE})) == [Change("schedule", None, COSINE)]


@pytest.mark.parametrize(
    ("key", "before", "now"),
    [
        ("optimizer.init_args.momentum", 0.0, 0.9),
        ("optimizer.init_args.amsgrad", False, True),
        ("learner.init_args.optimizer.class_path", "torch.optim.Adam", "torch.optim.SGD"),
        ("model.init_args.backbone.init_args.weights", None, "DEFAULT"),
        ("decay_norm_and_bias", True, False),
        ("seed", 0, 1),
    ],
)
def test_what_is_refused(key, before, now):
    recipes = [{}, {}]
    for recipe, value in zip(recipes, (before, now), strict=True):
        *parents, name = key.split(".")
        for parent in parents:
            recipe = recipe.setdefault(parent, {})
        recipe[name] = value
    with pytest.raises(InputError, match=rf"{key} was {before} and is now {now}, but runs/a/last.ckpt cannot go on"):
        check_changes(*recipes, Path("runs/a/last.ckpt"))


@pytest.mark.parametrize(
    ("step", "options", "position", "total", "lr", "warmup"),
    [
        (9, ["--optimizer.lr", "0.01", "--trainer.max_epochs", "6"], 9, 36, 0.01, 4),
        (12, ["--data.batch_size", "4"], 6, 12, 0.1, 4),
        (12, ["--schedule.warmup_steps", "14"], 12, 24, 0.05, 14),
        *(
            pytest.param(*case, marks=pytest.mark.slow)
            for case in (
                (12, ["--optimizer.lr", "0.01"], 12, 24, 0.01, 4),
                (9, ["--data.batch_size", "1"], 18, 48, 0.025, 4),
                (9, ["--data.batch_size", "12"], 1, 4, 0.3, 4),
                (12, ["--trainer.accumulate_grad_batches", "2"], 6, 12, 0.1, 4),
                (12, ["--trainer.limit_train_batches", "4"], 8, 16, 0.05, 4),
                (9, ["--trainer.max_steps", "20", "--trainer.max_epochs", "-1"], 9, 20, 0.05, 4),
            )
        ),
    ],
)
def test_the_learning_rate_is_that_of_a_run_that_had_the_settings_from_the_start(
    recipe, detkit_command, monkeypatch, step, options, position, total, lr, warmup
):
    """A run of 4 epochs of 6 steps is stopped after `step`; its share of the epochs is `position` of `total` then."""
    trainer = {"max_epochs": 4, "limit_val_batches": 1}
    config = recipe(
        schedule=COSINE, lr_batch_size=2, save_every_n_steps=1, trainer=trainer, data={"eval_batch_size": 5}
    )
    stopped(monkeypatch, detkit_command, in_step(step, crash), "train", "--config", config)
    assert detkit_command("train", "--resume", "runs/tiny", *options) == (0, "")
    with open("runs/tiny/metrics.csv", newline="") as file:
        rows = [(int(row["step"]), float(row["lr"])) for row in csv.DictReader(file) if row["lr"]]
    assert [at for at, _ in rows] == list(range(len(rows)))
    expected = [_rate(at, total, lr, warmup) for at in range(position, total)]
    assert [rate for at, rate in rows if at >= step] == pytest.approx(expected)


def _rate(step: int, total: int, lr: float, warmup: int) -> float:
    """Linear from a thousandth over `warmup` steps, times half a cosine from 1 to 0.01 over the others."""
    ramp = 0.001 + 0.999 * min(1.0, step / warmup)
    share = max(0, step - warmup) / max(1, total - warmup)
    return lr * ramp * (0.01 + 0.99 * (1 + math.cos(math.pi * share)) / 2)


def test_a_config_without_the_name_that_was_given_at_the_start_can_be_resumed(caplog):
    recorded = {"name": "mine", "runs": "elsewhere", "ema": 0.9}
    check_changes(recorded, {"name": None, "runs": "runs", "ema": 0.9}, Path("elsewhere/mine/last.ckpt"))
    assert not caplog.messages
    with pytest.raises(InputError, match="name was mine and is now other"):
        check_changes(recorded, {**recorded, "name": "other"}, Path("elsewhere/mine/last.ckpt"))
