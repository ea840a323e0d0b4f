"""``detkit train``: from a config to a run folder."""

from __future__ import annotations

import inspect
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from rich import get_console

from detkit.backbones.pretrained import load_matching
from detkit.data import DataModule
from detkit.deprecation import moved_names
from detkit.engine.building import build
from detkit.engine.callbacks.checkpoints import AtomicCheckpointIO, RunCheckpoints
from detkit.engine.callbacks.ema import MovingAverage
from detkit.engine.callbacks.loggers import Events, MetricsFile
from detkit.engine.callbacks.progress import ProgressLines, progress_bar, quiet_lightning
from detkit.engine.callbacks.resume import ExactResume
from detkit.engine.callbacks.validation_images import Pictures
from detkit.engine.checkpoint import (
    categories_of,
    check_categories,
    check_weights,
    checkpoint_path,
    inference_weights,
    model_record,
    read_checkpoint,
)
from detkit.engine.config.learning import add_learning_arguments, check_sources, check_trainer, lr_factors
from detkit.engine.config.parser import check_precision, command_parser, parse
from detkit.engine.evaluators import OLD_KEYS, Kind, add_evaluators, make_evaluators, monitored, read_old_keys
from detkit.engine.fitting import fit
from detkit.engine.module import DetectionModule
from detkit.engine.run_folder import check_free, clear, folder_of, write_config
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.structures import Category
from detkit.tasks import task_of

logger = logging.getLogger(__name__)

__getattr__ = moved_names(__name__, {"WRONG_INPUT": "detkit.engine.fitting.WRONG_INPUT"})

DESCRIPTION = """Train a detector or classifier on annotated images.

The run's checkpoints, metrics, pictures and resolved config go to runs/NAME/.

examples:
  tools/train.py --config configs/shapes.yaml
  tools/train.py --config configs/shapes.yaml --data.root my/folder --trainer.max_epochs 5
  tools/train.py --resume runs/shapes"""

OWN_TRAINER_ARGUMENTS = {
    "barebones",
    "default_root_dir",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "fast_dev_run",
    "model_registry",
    "reload_dataloaders_every_n_epochs",
    "use_distributed_sampler",
}
COMMAND_ONLY = ("config", "resume", "overwrite", "print_config")


def add_arguments(parser: ArgumentParser) -> None:
    """Declare the config: the typed constructors of model, data, optimizer, schedule and trainer are its schema."""
    parser.add_argument("--config", action="config", help="the recipe, a YAML file; later arguments change it")
    parser.add_argument("--resume", type=str | None, help="a run's folder or checkpoint: go on where it stopped")
    parser.add_argument("--overwrite", action="store_true", help="replace the run of the same name")
    parser.add_argument("--name", type=str | None, help="the run's name; default: the config's")
    parser.add_argument("--runs", type=str, default="runs", help="the folder that holds the runs' folders")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order of images, augmentation and sampling")
    parser.add_argument(
        "--start_from", type=str | None, help="a checkpoint whose weights to begin with, where they fit"
    )
    parser.add_subclass_arguments(VisionModel, "model", required=True, help="the detector, classifier or other model")
    parser.add_class_arguments(DataModule, "data", skip={"eval_split"})
    add_learning_arguments(parser)
    parser.add_argument("--ema", type=float | None, help="decay of a moving average of the weights, such as 0.9998")
    add_evaluators(parser, "those of the model's task. The first one's headline decides which epoch is the best")
    parser.add_argument("--evaluate", type=list[Kind] | None, help="deprecated: names that stand for evaluators")
    parser.add_argument("--keypoint_sigmas", type=list[float] | None, help="deprecated: an argument of CocoEvaluator")
    parser.add_argument("--validation_loss", type=bool, default=False, help="log losses on the validation images too")
    parser.add_argument("--pictures", type=int, default=4, help="validation images drawn after each validation")
    parser.add_argument("--save_every_n_steps", type=int | None, help="write last.ckpt also within epochs")
    parser.add_class_arguments(Trainer, "trainer", skip=OWN_TRAINER_ARGUMENTS, instantiate=False)
    parser.set_defaults({"trainer.max_epochs": 12, "trainer.log_every_n_steps": 10})
    parser.link_arguments("seed", "data.seed")
    parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")


def with_resumed_config(argv: Sequence[str]) -> list[str]:
    """The command line, and with ``--resume`` alone the config of the run that it continues."""
    argv = list(argv)
    names = [argument.split("=", 1)[0] for argument in argv]
    if "--resume" not in names or "--config" in names:
        return argv
    at = names.index("--resume")
    resumed = argv[at].split("=", 1)[1] if "=" in argv[at] else (argv[at + 1 : at + 2] or [""])[0]
    config = folder_of(resumed) / "config.yaml"
    if not Path(resumed).exists() or not config.is_file():
        missing = config if Path(resumed).exists() else resumed
        raise InputError(f"There is no run to resume: {missing} does not exist.")
    return ["--config", str(config), *argv]


def train_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and train."""
    parser = command_parser("train", "--config CONFIG [--KEY VALUE ...]", DESCRIPTION)
    add_arguments(parser)
    config = parse(parser, with_resumed_config(argv))
    if any(argument.split("=", 1)[0] == "--evaluate" for argument in argv):
        config.evaluators = None  # an old option still counts for more than a config
    train(parser, config)


def train(parser: ArgumentParser, config: Namespace) -> None:
    """Train what `config` describes; see ``detkit train --help``.

    Raises:
        InputError: something in the config, the data or the folder of the run is wrong.
    """
    quiet_lightning()
    checkpoint = checkpoint_path(config.resume, ("last.ckpt", "best.ckpt")) if config.resume else None
    folder = folder_of(config.resume) if config.resume else Path(config.runs) / _name(config)
    if checkpoint is None and not config.overwrite:
        check_free(folder)

    seed_everything(config.seed, workers=True, verbose=False)
    built = build(parser, config)
    built.data.read_for(built.model.learns_from, built.model.asks_for)
    _check_num_classes(config, built.data)
    check_sources(built.learner, built.data)
    if built.learner.reads_targets:
        task_of(built.model).check_data(built.model, built.data)
    read_old_keys(config, built)
    truth = built.data.eval_dataset.ground_truth()
    evaluators = make_evaluators(built.model, built.evaluators, truth, built.data.categories)
    built.model.categories = built.data.categories
    done = _steps_done(built, checkpoint) if checkpoint else None
    if checkpoint is None and config.start_from:
        _start_from(built.model, config.start_from)
    module = _module(config, built, evaluators, _record(parser, config, built))
    trainer = _trainer(config, built, folder, *monitored(evaluators))
    check_trainer(trainer, module, built.learner)

    if done is None:
        clear(folder)
    else:
        trainer.loggers[0].resume(done)
    write_config(folder, _dump(parser, config, "yaml"))
    fit(trainer, module, built.data, checkpoint)
    if trainer.global_step == done:
        logger.warning("%s is a finished run: raise --trainer.max_epochs to train on", folder)


def _steps_done(built: Namespace, checkpoint: Path) -> int:
    """How many steps a checkpoint holds, whose labels and weights must be those of the model."""
    content = read_checkpoint(checkpoint)
    _check_labels(categories_of(content), built.data, checkpoint)
    check_weights(built.model, inference_weights(content), checkpoint)
    if "loops" not in content:
        raise InputError(f"{checkpoint} holds a model but no state of a run: begin a new one with --start_from.")
    return content["global_step"]


def _module(
    config: Namespace, built: Namespace, evaluators: Mapping[str, Evaluator], record: dict[str, Any]
) -> DetectionModule:
    return DetectionModule(
        built.model.to(memory_format=torch.channels_last),  # in which convolutions are fastest, on CPU and GPU alike
        built.optimizer,
        built.schedule,
        evaluators,
        config.decay_norm_and_bias,
        config.lr_batch_size,
        config.validation_loss,
        record,
        built.learner,
        lr_factors(built),
    )


def _trainer(config: Namespace, built: Namespace, folder: Path, best_by: str, higher_is_better: bool) -> Trainer:
    console = get_console()
    callbacks: list[Callback | None] = [
        ProgressLines(console),
        progress_bar(console),
        ExactResume(),
        MovingAverage(config.ema) if config.ema is not None else None,
        Pictures(folder / "pictures", config.pictures, built.data.categories, task_of(built.model))
        if config.pictures
        else None,
        RunCheckpoints(folder, config.save_every_n_steps, best_by, higher_is_better),
    ]
    arguments = dict(vars(built.trainer))
    check_precision("trainer.precision", arguments["precision"])
    arguments["callbacks"] = [callback for callback in callbacks if callback] + _many(arguments["callbacks"])
    arguments["logger"] = [MetricsFile(folder / "metrics.csv"), Events(folder), *_many(arguments["logger"])]
    arguments["plugins"] = [AtomicCheckpointIO(), *_many(arguments["plugins"])]
    try:
        return Trainer(
            **arguments,
            default_root_dir=folder,
            use_distributed_sampler=False,
            enable_model_summary=False,
            enable_progress_bar=console.is_terminal,
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise InputError(f"trainer: {' '.join(str(error).split())}") from error


def _name(config: Namespace) -> str:
    if config.name:
        return config.name
    if config.config:
        return Path(str(config.config[-1])).stem
    raise InputError("The run has no name: give --name, or a config file whose name it takes.")


def _check_num_classes(config: Namespace, data: DataModule) -> None:
    given = config.get("model.init_args.num_classes")
    if given not in (None, data.num_classes):
        raise InputError(
            f"model.init_args.num_classes is {given}, but {data.train_dataset.annotations_path} has {data.num_classes} "
            f"classes: leave it out, it is taken from the data."
        )


def _check_labels(categories: list[Category], data: DataModule, checkpoint: Path) -> None:
    """Going on needs each label to mean the same class."""
    source = str(data.train_dataset.annotations_path)
    check_categories(categories, data.categories, checkpoint, source)
    if [category.name for category in categories] != [category.name for category in data.categories]:
        raise InputError(f"{source} has the classes of {checkpoint} in another order: sort their ids as before.")


def _start_from(model: VisionModel, checkpoint: str) -> None:
    path = checkpoint_path(checkpoint)
    load_matching(model, inference_weights(read_checkpoint(path)), str(path))


def _record(parser: ArgumentParser, config: Namespace, built: Namespace) -> dict[str, Any]:
    resolved = json.loads(_dump(parser, config, "json"))
    model = resolved["model"]
    if _takes_num_classes(built.model):
        model.setdefault("init_args", {})["num_classes"] = built.data.num_classes
    return model_record(model, built.data.categories, resolved)


def _takes_num_classes(model: VisionModel) -> bool:
    """Whether the number of classes is an argument of the model, by its name or within ``**kwargs``."""
    parameters = inspect.signature(type(model)).parameters.values()
    return model.num_classes is not None and any(
        one.name == "num_classes" or one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters
    )


def _dump(parser: ArgumentParser, config: Namespace, style: str) -> str:
    config = config.clone()
    for name in (*COMMAND_ONLY, *OLD_KEYS):
        config.pop(name, None)
    return parser.dump(config, format=style, skip_unset=False, skip_validation=True)


def _many(value: Any) -> list[Any]:
    """What a Trainer argument that takes one, many, none or a switch names."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
