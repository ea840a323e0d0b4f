"""The typed recipe of a training: model, data, optimization and run, built from a parsed command line."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from detkit.data import DataModule
from detkit.engine.checkpoint_checks import check_categories
from detkit.engine.config.evaluator_entries import (
    OLD_KEYS,
    EvaluatorFactory,
    entries_of_old_keys,
    factories,
)
from detkit.engine.config.parser import ParsedCommand
from detkit.engine.config.training_arguments import COMMAND_ONLY
from detkit.engine.optim import OptimizerFactory, Schedule
from detkit.engine.run.run_folder import folder_of
from detkit.errors import InputError
from detkit.learners import Learner
from detkit.model_settings import check_describes
from detkit.models import VisionModel


@dataclass(frozen=True)
class RunOptions:
    """Which run it is, where it begins and what it writes; the fields are arguments of ``detkit train``."""

    config: list[Any] | None
    name: str | None
    runs: str
    resume: str | None
    overwrite: bool
    seed: int
    start_from: str | None
    ema: float | None
    validation_loss: bool
    pictures: int
    save_every_n_steps: int | None
    compile: bool

    @property
    def folder(self) -> Path:
        """The run's folder.

        Raises:
            InputError: the run has no name.
        """
        if self.resume:
            return folder_of(self.resume)
        if self.name:
            return Path(self.runs) / self.name
        if self.config:
            return Path(self.runs) / Path(str(self.config[-1])).stem
        raise InputError("The run has no name: give --name, or a recipe, whose name it takes.")


@dataclass(frozen=True, eq=False)
class Optimization:
    """What is learned, and how fast.

    Args:
        learner: computes the losses of a training step.
        optimizer: makes the optimizer from groups of parameters.
        schedule: the learning rate over the run; None: constant.
        decay_norm_and_bias: whether weight decay applies to normalization layers and biases too.
        lr_batch_size: images per step that the learning rate is for; None: any number.
        lr_factors: factors of the learning rate by prefix of parameter names.
    """

    learner: Learner
    optimizer: OptimizerFactory
    schedule: Schedule | None
    decay_norm_and_bias: bool
    lr_batch_size: int | None
    lr_factors: Mapping[str, float]


@dataclass(frozen=True, eq=False)
class Recipe:
    """A training, with all of its objects built.

    Args:
        model: its weights as initialized, or pretrained.
        data: with all the fields of targets requested that the model needs.
        optimization: what is learned, and how fast.
        evaluators: factories of the evaluators that validate; None: those of the model's task.
        trainer: arguments of Lightning's `Trainer`.
        run: which run it is, and what it writes.
        resolved: the recipe in plain values, with all defaults.
        text: the same as YAML.
    """

    model: VisionModel
    data: DataModule
    optimization: Optimization
    evaluators: Sequence[EvaluatorFactory] | None
    trainer: Mapping[str, Any]
    run: RunOptions
    resolved: Mapping[str, Any]
    text: str


def build_recipe(parsed: ParsedCommand) -> Recipe:
    """Build what a command line of ``detkit train`` describes.

    Raises:
        InputError: something in it is wrong, or the number of classes is not that of the data.
    """
    objects = parsed.build()
    model, data = objects["model"], objects["data"]
    data.read_for(model.learns_from, model.asks_for)
    _check_num_classes(parsed, data)
    evaluators = _evaluators(parsed, objects)
    without = (*COMMAND_ONLY, *OLD_KEYS)
    return Recipe(
        model=model,
        data=data,
        optimization=Optimization(
            learner=objects["learner"],
            optimizer=objects["optimizer"],
            schedule=objects["schedule"],
            decay_norm_and_bias=objects["decay_norm_and_bias"],
            lr_batch_size=objects["lr_batch_size"],
            lr_factors=_lr_factors(objects),
        ),
        evaluators=evaluators,
        trainer=dict(vars(objects["trainer"])),
        run=parsed.options(RunOptions),
        resolved=json.loads(parsed.dump("json", without)),
        text=parsed.dump("yaml", without),
    )


def with_model(recipe: Recipe, model: VisionModel) -> Recipe:
    """The recipe with a model that exists, in place of the one that it has built.

    Raises:
        InputError: it has other classes than the data, or was changed after it was made.
    """
    source, classes = recipe.data.train_dataset.annotations_path, recipe.data.num_classes
    name, names = type(model).__name__, [category.name for category in recipe.data.categories]
    if model.num_classes not in (None, classes):
        raise InputError(
            f"The {name} has {model.num_classes} classes, but {source} has {classes}: make it with "
            f"num_classes={classes}, or take detkit.models.with_classes(model, {names})."
        )
    if model.categories and [one.name for one in model.categories] != names:
        check_categories(model.categories, recipe.data.categories, f"The {name}", str(source))
        raise InputError(
            f"{source} has the classes of the {name} in another order: take detkit.models.with_classes(model, {names})."
        )
    check_describes(model, recipe.model, name)
    return replace(recipe, model=model)


def _check_num_classes(parsed: ParsedCommand, data: DataModule) -> None:
    given = parsed.config.get("model.init_args.num_classes")
    if given not in (None, data.num_classes):
        raise InputError(
            f"model.init_args.num_classes is {given}, but {data.train_dataset.annotations_path} has {data.num_classes} "
            f"classes: leave it out, it is taken from the data."
        )


def _evaluators(parsed: ParsedCommand, objects: Mapping[str, Any]) -> Sequence[EvaluatorFactory] | None:
    """The evaluators of the config; those that its old keys stand for are written into it."""
    config = parsed.config
    if any(argument.partition("=")[0] == "--evaluate" for argument in parsed.argv):
        config.evaluators = None  # an old option on the command line overrides a config
    given = None if config.evaluators is None else [one.as_dict() for one in config.evaluators]
    entries = entries_of_old_keys(config.evaluate, config.keypoint_sigmas, given, objects["model"])
    if entries is not None:
        config.evaluators = entries
        return factories(entries)
    evaluators: Sequence[EvaluatorFactory] | None = objects["evaluators"] if given is not None else None
    return evaluators


def _lr_factors(objects: Mapping[str, Any]) -> dict[str, float]:
    """Factors of learning rates by prefix: those of ``lr_factors`` override those of ``lr_layer_decay``."""
    decay = objects["lr_layer_decay"]
    return (decay.factors() if decay else {}) | (objects["lr_factors"] or {})
