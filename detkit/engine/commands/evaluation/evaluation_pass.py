"""One pass of a model and its evaluators over a split, on a device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich import get_console

from detkit.data import DataModule
from detkit.engine.callbacks.progress import progress_bar
from detkit.engine.config.parser import check_precision
from detkit.engine.evaluation_module import EvaluationModule
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel


def evaluation_pass(
    model: VisionModel, evaluators: Mapping[str, Evaluator], data: DataModule, device: str, precision: str = "32-true"
) -> bool:
    """Let the evaluators see and compute all that the model says about the evaluated split.

    Args:
        model: what is evaluated.
        evaluators: by name.
        data: its ``eval_split`` is the split.
        device: ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
        precision: in Lightning's notation.

    Returns:
        Whether this is the first process, whose evaluators alone have the results of all.

    Raises:
        InputError: there is no such device or precision.
    """
    trainer = _trainer(device, precision)
    trainer.validate(EvaluationModule(model, evaluators), data.val_dataloader(), verbose=False)
    return bool(trainer.is_global_zero)


def _trainer(device: str, precision: str) -> Trainer:
    kind, _, number = device.partition(":")
    check_precision("--precision", precision)
    bar = progress_bar(get_console())
    arguments: dict[str, Any] = {
        "accelerator": {"cuda": "gpu"}.get(kind, kind),
        "precision": precision,
        "callbacks": [bar] if bar else [],
    }
    try:
        return Trainer(
            **arguments,
            devices=[int(number)] if number else 1,
            logger=False,
            enable_progress_bar=bar is not None,
            enable_checkpointing=False,
            enable_model_summary=False,
            use_distributed_sampler=False,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"--device {device}, --precision {precision}: {error}") from error
