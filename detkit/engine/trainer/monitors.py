"""The metrics that callbacks wait for, checked before an epoch is spent on one that is never logged."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint

from detkit.engine.callbacks.time_to_accuracy import TimeToAccuracy
from detkit.errors import InputError


class MonitorCheck(Callback):
    """Refuses callbacks that monitor a metric which nothing logs: those of validations before training, others after
    its first batch.

    Raises:
        InputError: it names the callback, the metric and the metrics that there are.
    """

    def on_fit_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Check the metrics of validations."""
        known = None
        for owner, metric in _monitored(trainer):
            if metric.startswith("train/") or metric == "lr":
                continue
            known = _validation_metrics(module) if known is None else known
            if known and metric not in known:
                raise InputError(_sentence(owner, metric, {*known, "lr", "train/loss"}))

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Check the metrics of training."""
        if trainer.fit_loop.epoch_loop.total_batch_idx == 0:
            for owner, metric in _monitored(trainer):
                if metric.startswith("train/") and metric not in trainer.callback_metrics:
                    raise InputError(_sentence(owner, metric, trainer.callback_metrics))


def _monitored(trainer: Trainer) -> Iterator[tuple[str, str]]:
    """The callbacks that monitor a metric, each with its metric."""
    for callback in vars(trainer)["callbacks"]:  # which Lightning's class does not declare
        if isinstance(callback, (EarlyStopping, ModelCheckpoint)) and callback.monitor is not None:
            yield type(callback).__name__, callback.monitor
        elif isinstance(callback, TimeToAccuracy):
            yield type(callback).__name__, callback.metric


def _validation_metrics(module: Any) -> set[str]:
    """The names that a validation logs; empty where they are not known before."""
    names: set[str] = {"val/loss"} if module.validation_loss else set()
    for evaluator in module.evaluators.values():
        unused = copy.copy(evaluator)  # so that the evaluator of the run stays as it is
        unused.reset()
        vars(unused)["say_once"] = lambda sentence: None  # that it has nothing to measure is no news here
        try:
            names |= {evaluator.log_name(number) for number in unused.compute()}
        except Exception:  # an evaluator may need answers to know its metrics, and is asked again in a validation
            return set()
    return names


def _sentence(owner: str, metric: str, known: Collection[str]) -> str:
    return f"trainer.callbacks: {owner} monitors {metric}, which is not logged; there are: {', '.join(sorted(known))}."
