"""The optimizer settings and learning rates of a resumed run, where they or the length of an epoch have changed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

Settings = dict[str, Any]
"""What a group of parameters has besides them: learning rate, weight decay, momentum …"""

RATES = ("lr", "initial_lr")


def settings_of(optimizers: Sequence[Optimizer]) -> list[list[Settings]]:
    """The settings of each group of each optimizer."""
    return [
        [{key: value for key, value in group.items() if key != "params"} for group in optimizer.param_groups]
        for optimizer in optimizers
    ]


def steps_per_epoch(trainer: Trainer) -> int:
    """Optimizer steps in an epoch."""
    return math.ceil(trainer.num_training_batches / trainer.accumulate_grad_batches)


def is_counted_in_steps(trainer: Trainer) -> bool:
    """Whether ``max_steps`` ends the run, not ``max_epochs``."""
    return trainer.max_steps != -1 and trainer.estimated_stepping_batches == trainer.max_steps


def apply_settings(trainer: Trainer, own: list[list[Settings]], before: list[list[Settings]] | None) -> None:
    """Give restored optimizers the settings of this run that differ from those that the run began with.

    What an optimizer has changed itself in its groups stays.

    Args:
        trainer: its optimizers are restored.
        own: the settings with which this run made its optimizers.
        before: those of the run so far; None: a checkpoint of the previous release, which has the restored ones alone.
    """
    restored = settings_of(trainer.optimizers)
    for optimizer, some, others in zip(trainer.optimizers, own, before or restored, strict=True):
        for group, new, old in zip(optimizer.param_groups, some, others, strict=True):
            changed = {key for key in new.keys() - set(RATES) if key not in old or not _equal(new[key], old[key])}
            group.update({key: new[key] for key in changed})
            if "initial_lr" in new:
                group["initial_lr"] = new["initial_lr"]
            elif "initial_lr" in group or not _equal(new["lr"], old["lr"]):  # without a schedule
                group.pop("initial_lr", None)
                group["lr"] = new["lr"]


def move_schedules(trainer: Trainer, position: int) -> None:
    """Set the learning rates to those of a step.

    Args:
        trainer: its schedules are functions of the step.
        position: the step, see `detkit.engine.callbacks.resume.ExactResume`.
    """
    for config in trainer.lr_scheduler_configs:
        scheduler = config.scheduler
        if not isinstance(scheduler, LambdaLR):
            continue
        groups = scheduler.optimizer.param_groups
        scheduler.base_lrs = [group["initial_lr"] for group in groups]
        scheduler.last_epoch = position
        rates = [base * factor(position) for base, factor in zip(scheduler.base_lrs, scheduler.lr_lambdas, strict=True)]
        for group, rate in zip(groups, rates, strict=True):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(rate)
            else:
                group["lr"] = rate
        scheduler._last_lr = rates


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)):
        return list(one) == list(other)
    return bool(one == other)
