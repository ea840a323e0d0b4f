"""``detkit train``: train the model of a recipe, into a run's folder."""

from __future__ import annotations

import inspect
import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, ProgressBar
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich import get_console

from detkit.data import DataModule
from detkit.data.layouts.contents import describe_data, warnings_about_data, warnings_about_maps
from detkit.deprecation import moved_names, warn
from detkit.engine.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoints
from detkit.engine.callbacks.ema import MovingAverage
from detkit.engine.callbacks.progress import ProgressLines, progress_bar, quiet_lightning
from detkit.engine.callbacks.resume import ExactResume
from detkit.engine.callbacks.validation_images import ValidationImages
from detkit.engine.checkpoint import Checkpoint, model_record
from detkit.engine.checkpoint_checks import check_categories, check_weights
from detkit.engine.config.command_line import with_resumed_config
from detkit.engine.config.parser import ParsedCommand, check_precision, command_parser
from detkit.engine.config.recipe import Recipe, RunOptions, build_recipe, with_model
from detkit.engine.config.training_arguments import add_training_arguments
from detkit.engine.config.trust import packages_of
from detkit.engine.evaluators import make_evaluators, monitored_metric
from detkit.engine.module import DetectionModule
from detkit.engine.run.changes import check_changes
from detkit.engine.run.lock import locked
from detkit.engine.run.run_folder import check_free, checkpoint_to_resume
from detkit.engine.run.start import RunStart
from detkit.engine.shorthand.recipe_arguments import with_recipe_files
from detkit.engine.shorthand.short_options import short_help, with_full_options
from detkit.engine.starting.start_from import start_from
from detkit.engine.trainer.closing_validation import ClosingValidation
from detkit.engine.trainer.compiling import compile_parts
from detkit.engine.trainer.failures import in_one_sentence
from detkit.engine.trainer.monitors import MonitorCheck
from detkit.engine.trainer.trainer_options import check_options
from detkit.engine.training_loop import check_sources, check_trainer, fit
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.tasks import task_of

logger = logging.getLogger(__name__)

__getattr__ = moved_names(
    __name__,
    {
        "COMMAND_ONLY": "detkit.engine.config.training_arguments.COMMAND_ONLY",
        "OWN_TRAINER_ARGUMENTS": "detkit.engine.config.training_arguments.OWN_TRAINER_ARGUMENTS",
        "WRONG_INPUT": "detkit.engine.training_loop.WRONG_INPUT",
        "add_arguments": "detkit.engine.config.training_arguments.add_training_arguments",
    },
)

DESCRIPTION = """Train a detector, segmentation model or classifier on annotated images.

Writes checkpoints, metrics, annotated validation images and the resolved config to runs/NAME/.

A recipe is named by its name, see "detkit recipes", or by the path of a file. "train NAME" is "train --config NAME".

examples:
  detkit train faster_rcnn_shapes
  detkit train faster_rcnn_shapes --data.root my/folder --trainer.max_epochs 5 --name mine
  detkit train --config configs/faster_rcnn_shapes.yaml
  detkit train --resume runs/faster_rcnn_shapes"""


def train_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and train."""
    parsed = training_arguments(argv)
    train(parsed)
    _print_next(parsed.options(RunOptions).folder)


def training_arguments(argv: Sequence[str]) -> ParsedCommand:
    """Parse the command line `argv`; raises InputError where it is wrong."""
    full = with_full_options("train", with_recipe_files(argv))
    return ParsedCommand.of(train_parser(), with_resumed_config(full))


def train_parser() -> ArgumentParser:
    """The parser of the command."""
    parser = command_parser("train", "RECIPE [--KEY VALUE ...]", DESCRIPTION + short_help("train"))
    add_training_arguments(parser)
    return parser


def train(
    parsed: ParsedCommand | ArgumentParser,
    config: Any = None,
    *,
    model: VisionModel | None = None,
    trainer: Mapping[str, Any] | None = None,
) -> None:
    """Train what a command line describes; see ``detkit train --help``.

    Args:
        parsed: the command line. Deprecated: a parser, with the `config` that it has parsed.
        config: deprecated.
        model: is trained itself, in place of the one that the command line describes, which must be the same.
        trainer: arguments of the trainer that are objects, such as ``callbacks``, in place of those of the recipe.

    Raises:
        InputError: something in the recipe, the data or the folder of the run is wrong.
    """
    if isinstance(parsed, ArgumentParser):
        warn("train(parser, config) is train(ParsedCommand(parser, config)) now")
        parsed = ParsedCommand(parsed, config)
    quiet_lightning()
    run = parsed.options(RunOptions)
    if run.resume and run.overwrite:
        raise InputError("--resume continues a run and --overwrite replaces it: give one of them.")
    with locked(run.folder):
        _train_in_folder(parsed, run, model, trainer or {})


def _train_in_folder(
    parsed: ParsedCommand, run: RunOptions, given_model: VisionModel | None, trainer_objects: Mapping[str, Any]
) -> None:
    checkpoint = checkpoint_to_resume(run.resume) if run.resume else None
    folder = run.folder
    if checkpoint is None and not run.overwrite:
        check_free(folder)

    seed_everything(run.seed, workers=True, verbose=False)
    recipe = build_recipe(parsed)
    recipe = replace(recipe, trainer={**recipe.trainer, **trainer_objects})
    if given_model is not None:
        recipe = with_model(recipe, given_model)
    model, data = recipe.model, recipe.data
    check_sources(recipe.optimization.learner, data)
    if recipe.optimization.learner.reads_targets:
        task_of(model).check_data(model, data)
    evaluators = make_evaluators(model, recipe.evaluators, data.eval_dataset.ground_truth(), data.categories)
    model.categories = data.categories
    done = _steps_done(recipe, checkpoint) if checkpoint else None
    if checkpoint is None and run.start_from:
        start_from(model, run.start_from, packages_of(recipe.resolved["model"]))
    module = _module(recipe, evaluators)
    start = RunStart(folder, recipe.text, done)
    trainer = _trainer(recipe, start, *monitored_metric(evaluators))
    check_trainer(trainer, module, recipe.optimization.learner)

    _print_contents(data)
    fit(trainer, module, data, checkpoint)
    if done is None:
        start.start()  # also where there was nothing to train
    elif trainer.global_step == done:
        logger.warning("%s is a finished run: raise --trainer.max_epochs to train on", folder)


@rank_zero_only
def _print_next(folder: Path) -> None:
    """Print where the model is, and the commands that use it."""
    file = next((path for name in ("best.ckpt", "last.ckpt") if (path := folder / name).is_file()), None)
    if file is not None:
        run = shlex.quote(str(folder))
        commands = f"detkit eval --checkpoint {run}, or detkit predict --checkpoint {run} IMAGE ... --out OUT"
        get_console().print(f"wrote {file}; next: {commands}", soft_wrap=True, highlight=False, markup=False)


@rank_zero_only
def _print_contents(data: DataModule) -> None:
    """Print what the splits hold, and warn of what may be wrong with it."""
    for line in describe_data(data):
        get_console().print(line, soft_wrap=True, highlight=False, markup=False)
    for sentence in [*warnings_about_data(data), *warnings_about_maps(data)]:
        logger.warning("%s", sentence)


def _steps_done(recipe: Recipe, path: Path) -> int:
    """How many steps a checkpoint holds, whose recipe, labels and weights must be those of the run."""
    checkpoint = Checkpoint.read(path)
    if "loops" not in checkpoint.content:
        raise InputError(f"{path} holds a model but no state of a run: begin a new one with --start_from.")
    check_changes(checkpoint.recipe, recipe.resolved, path)
    _check_labels(checkpoint, recipe.data)
    check_weights(recipe.model, checkpoint.weights, path)
    recipe.model.provenance = [*recipe.model.provenance, *checkpoint.provenance]  # of what the run had started from
    steps: int = checkpoint.content["global_step"]
    return steps


def _module(recipe: Recipe, evaluators: Mapping[str, Evaluator]) -> DetectionModule:
    optimization = recipe.optimization
    # Convolutions are fastest in channels_last, on CPU and GPU alike.
    model: VisionModel = recipe.model.to(memory_format=torch.channels_last)
    if recipe.run.compile:
        compile_parts(model)
    return DetectionModule(
        model,
        optimization.optimizer,
        optimization.schedule,
        evaluators,
        optimization.decay_norm_and_bias,
        optimization.lr_batch_size,
        recipe.run.validation_loss,
        _record(recipe),
        optimization.learner,
        optimization.lr_factors,
    )


def _trainer(recipe: Recipe, start: RunStart, best_by: str, higher_is_better: bool) -> Trainer:
    arguments = dict(recipe.trainer)
    check_precision("trainer.precision", arguments["precision"])
    check_options(arguments)
    given = _many(arguments["callbacks"])
    own_bar = None if any(isinstance(one, ProgressBar) for one in given) else progress_bar(get_console())
    arguments["callbacks"] = [*_callbacks(recipe, start, best_by, higher_is_better), *given]
    arguments["callbacks"] += [own_bar] if own_bar else []
    writers = [start.metrics, start.events, *_many(arguments["logger"])]
    arguments["logger"] = False if arguments["logger"] is False else writers
    arguments["plugins"] = [AtomicCheckpointIO(), *_many(arguments["plugins"])]
    with in_one_sentence():
        return Trainer(
            **arguments,
            default_root_dir=start.folder,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=any(isinstance(one, ProgressBar) for one in arguments["callbacks"]),
        )


def _callbacks(recipe: Recipe, start: RunStart, best_by: str, higher_is_better: bool) -> list[Callback]:
    console, run, folder = get_console(), recipe.run, start.folder
    images = ValidationImages(folder / "pictures", run.pictures, recipe.data.categories, task_of(recipe.model))
    callbacks: list[Callback | None] = [
        MonitorCheck(),
        start,
        ProgressLines(console),
        ExactResume(),
        ClosingValidation(),
        MovingAverage(run.ema) if run.ema is not None else None,
        images if run.pictures else None,
        RunCheckpoints(folder, run.save_every_n_steps, best_by, higher_is_better),
    ]
    return [callback for callback in callbacks if callback]


def _check_labels(checkpoint: Checkpoint, data: DataModule) -> None:
    """A resumed run needs each label to mean the same class."""
    source = str(data.train_dataset.annotations_path)
    check_categories(checkpoint.categories, data.categories, checkpoint.path, source)
    if [category.name for category in checkpoint.categories] != [category.name for category in data.categories]:
        raise InputError(f"{source} has the classes of {checkpoint.path} in another order: sort their ids as before.")


def _record(recipe: Recipe) -> dict[str, Any]:
    """What checkpoints say about the model."""
    model = dict(recipe.resolved["model"])
    if _takes_num_classes(recipe.model):
        model["init_args"] = {**model.get("init_args", {}), "num_classes": recipe.data.num_classes}
    config = {**recipe.resolved, "model": model}
    return model_record(model, recipe.data.categories, config, recipe.model.provenance)


def _takes_num_classes(model: VisionModel) -> bool:
    """Whether the number of classes is an argument of the model, by its name or within ``**kwargs``."""
    parameters = inspect.signature(type(model)).parameters.values()
    return model.num_classes is not None and any(
        one.name == "num_classes" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters
    )


def _many(value: Any) -> list[Any]:
    """A Trainer argument that may be one object, several, none or a switch, as a list."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
