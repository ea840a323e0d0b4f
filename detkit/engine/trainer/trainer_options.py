"""One table: what detkit makes of each option of Lightning's `Trainer`."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Literal

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.strategies.launchers import _MultiProcessingLauncher

from detkit.errors import InputError

logger = logging.getLogger(__name__)

Use = Literal["lightning", "differs", "own", "unused"]


@dataclass(frozen=True)
class Option:
    """One option of the `Trainer`.

    Args:
        use: ``lightning``: it does what Lightning documents. ``differs``: it does something else as well or instead,
            see `reason`. ``own``: detkit sets it, and a recipe does not have it. ``unused``: it has no effect in a
            training, and only its default is accepted.
        reason: why, or in what it differs; what to do in its place.
        is_valid: whether a value, other than None, can be used.
        valid: describes the values for which it can.
    """

    use: Use = "lightning"
    reason: str = ""
    is_valid: Callable[[Any], bool] = lambda value: True
    valid: str = ""


def _is_count(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value < 2**31


def _counted(least: int, *, endless: bool = False) -> dict[str, Any]:
    valid = f"a whole number of at least {least}" + (", or -1 for no limit" if endless else "")
    return {"is_valid": lambda value: _is_count(value, least) or (endless and value == -1), "valid": valid}


def _part(least: int, *, everything: bool = False) -> dict[str, Any]:
    """A number of batches, or a share of them as a float; `least` 0 allows none, `everything` allows -1."""

    def is_valid(value: Any) -> bool:
        if isinstance(value, float):
            return 0 < value <= 1 or (value == 0 and least == 0)
        return _is_count(value, least) or not isinstance(value, (int, float))  # a time is Lightning's to check

    return {"is_valid": is_valid, "valid": f"a number of batches of at least {least}, or a share above 0 and up to 1.0"}


def _is_some_time(value: Any) -> bool:
    """Whether a duration of Lightning's is more than none; other texts are Lightning's to check."""
    if isinstance(value, str):
        return bool(value.strip("0: "))
    return (timedelta(**value) if isinstance(value, dict) else value) > timedelta(0)


_NO_TEST = "training neither tests nor predicts: use detkit eval or detkit predict"

OPTIONS: Mapping[str, Option] = {
    "accelerator": Option(),
    "strategy": Option(
        "differs", "one process per device holds the whole model: auto, ddp or ddp_find_unused_parameters_true"
    ),
    "devices": Option(),
    "num_nodes": Option(**_counted(1)),
    "precision": Option("differs", "boxes stay float32: 32-true, bf16-mixed or 16-mixed"),
    "logger": Option("differs", "given loggers are added to metrics.csv and TensorBoard's events; false disables all"),
    "callbacks": Option("differs", "the given callbacks are added to detkit's; a progress bar replaces its bar"),
    "fast_dev_run": Option(
        "own", "give trainer.max_steps 1, trainer.limit_val_batches 1 and a --name of its own for a run of one batch"
    ),
    "max_epochs": Option("differs", "the default is 12", **_counted(1, endless=True)),
    "min_epochs": Option(**_counted(0)),
    "max_steps": Option(**_counted(1, endless=True)),
    "min_steps": Option(**_counted(0)),
    "max_time": Option(is_valid=_is_some_time, valid="more than 0 seconds"),
    "limit_train_batches": Option(**_part(1)),
    "limit_val_batches": Option("differs", "with 0 there is no validation, so no best.ckpt", **_part(0)),
    "limit_test_batches": Option("unused", _NO_TEST),
    "limit_predict_batches": Option("unused", _NO_TEST),
    "overfit_batches": Option(
        "differs",
        "each epoch has the same images, augmented alike, and validation its first batches",
        **_part(0),
    ),
    "val_check_interval": Option("differs", "a run also ends with a validation", **_part(1)),
    "check_val_every_n_epoch": Option("differs", "a run also ends with a validation", **_counted(1)),
    "num_sanity_val_steps": Option(**_counted(0, endless=True)),
    "log_every_n_steps": Option(
        "differs", "the default is 10; an epoch of fewer steps is logged at its last one; 0 logs no step", **_counted(0)
    ),
    "enable_checkpointing": Option("own", "every run writes best.ckpt and last.ckpt"),
    "enable_progress_bar": Option("own", "there is a bar on a terminal, and lines elsewhere"),
    "enable_model_summary": Option("own", "add the callback lightning.pytorch.callbacks.ModelSummary for a summary"),
    "accumulate_grad_batches": Option(**_counted(1)),
    "gradient_clip_val": Option(is_valid=lambda value: 0 <= value < float("inf"), valid="finite and at least 0"),
    "gradient_clip_algorithm": Option(is_valid=lambda value: value in ("norm", "value"), valid="norm or value"),
    "deterministic": Option(),
    "benchmark": Option(),
    "inference_mode": Option(),
    "use_distributed_sampler": Option("own", "the order of images is split over processes by detkit"),
    "profiler": Option(),
    "detect_anomaly": Option(),
    "barebones": Option("own", "it disables checkpoints and logging, which a run consists of"),
    "plugins": Option("differs", "the given plugins are added to the one that writes checkpoints"),
    "sync_batchnorm": Option("differs", "on several GPUs: torch has it for no other device"),
    "reload_dataloaders_every_n_epochs": Option("own", "loaders know the epoch, and do not change otherwise"),
    "default_root_dir": Option("own", "a run writes to RUNS/NAME: give --runs and --name"),
    "enable_autolog_hparams": Option(
        "differs", "loggers get no hyperparameters: config.yaml and checkpoints have them"
    ),
    "model_registry": Option("own", "checkpoints are files: upload best.ckpt"),
}

OWN = frozenset(name for name, option in OPTIONS.items() if option.use == "own")
"""The options that a recipe does not have."""


def describe_own(name: str) -> str | None:
    """Why a recipe does not have the option `name`, as a sentence; None where it has it, or Lightning does not."""
    option = OPTIONS.get(name)
    if option is None or option.use != "own":
        return None
    return f"trainer.{name} is not a setting of detkit: {option.reason}."


def check_options(given: Mapping[str, Any]) -> None:
    """Refuse values that do nothing, or that Lightning would find wrong too late.

    Args:
        given: arguments of the `Trainer` by name, as in a recipe.

    Raises:
        InputError: it names the option, its value and what is valid.
    """
    for name, value in given.items():
        option = OPTIONS.get(name)
        if option is None or value is None:
            continue
        if option.use == "unused":
            raise InputError(f"trainer.{name} is {value}, which has no effect: {option.reason}.")
        if not option.is_valid(value):
            raise InputError(f"trainer.{name} must be {option.valid}, not {value}.")
    if given.get("overfit_batches") and given.get("limit_train_batches") is not None:
        raise InputError("trainer.overfit_batches and trainer.limit_train_batches both limit an epoch: give one.")
    if given.get("limit_val_batches") == 0:
        logger.warning("trainer.limit_val_batches is 0: there is no validation, and so no best.ckpt")


def check_devices(trainer: Trainer) -> None:
    """Refuse processes that do not each hold the whole model, and devices that lack what is asked for.

    Raises:
        InputError: it names the option.
    """
    strategy = trainer.strategy
    whole = isinstance(strategy, (DDPStrategy, SingleDeviceStrategy))
    if not whole or isinstance(strategy.launcher, _MultiProcessingLauncher):
        name = getattr(strategy, "strategy_name", None) or type(strategy).__name__
        raise InputError(f"trainer.strategy {name} is not supported: {OPTIONS['strategy'].reason}.")
    synced = getattr(strategy, "_layer_sync", None) is not None
    if synced and trainer.world_size > 1 and strategy.root_device.type != "cuda":
        raise InputError("trainer.sync_batchnorm needs GPUs, torch has it for no other device: leave it out.")
