"""``detkit train``: from a config to a run folder."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser, Namespace
from lightning.pytorch import Trainer, seed_everything
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from lightning.pytorch.utilities.rank_zero import rank_zero_only
from rich.console import Console

from detkit.backbones.pretrained import load_matching
from detkit.data import DataModule
from detkit.engine.building import build
from detkit.engine.checkpoint import (
    categories_of,
    check_categories,
    check_weights,
    checkpoint_path,
    inference_weights,
    model_record,
    read_checkpoint,
)
from detkit.engine.command import command_parser, parse
from detkit.engine.ema import MovingAverage
from detkit.engine.module import DetectionModule
from detkit.engine.optimization import OptimizerFactory, Schedule
from detkit.engine.pictures import Pictures
from detkit.engine.progress import ProgressLines, progress_bar, quiet_lightning
from detkit.engine.resume import ExactResume
from detkit.engine.run_folder import AtomicCheckpointIO, Events, MetricsFile, RunCheckpoints
from detkit.errors import InputError
from detkit.evaluation import CocoEvaluator
from detkit.evaluation.ground_truth import IouType
from detkit.models import Detector
from detkit.structures import Category

logger = logging.getLogger(__name__)

DESCRIPTION = """Train a detector on images with COCO annotations.

The run's checkpoints, metrics, pictures and resolved config go to runs/NAME/.

examples:
  tools/train.py --config configs/shapes.yaml
  tools/train.py --config configs/shapes.yaml --data.root my/folder --trainer.max_epochs 5
  tools/train.py --resume runs/shapes"""

SGD = {"class_path": "torch.optim.SGD", "init_args": {"lr": 0.01, "momentum": 0.9, "weight_decay": 1e-4}}
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
    parser.add_argument("--overwrite", type=bool, default=False, help="replace the run of the same name")
    parser.add_argument("--name", type=str | None, help="the run's name; default: the config's")
    parser.add_argument("--runs", type=str, default="runs", help="the folder that holds the runs' folders")
    parser.add_argument("--seed", type=int, default=0, help="of weights, order of images, augmentation and sampling")
    parser.add_argument(
        "--start_from", type=str | None, help="a checkpoint whose weights to begin with, where they fit"
    )
    parser.add_subclass_arguments(Detector, "model", required=True, help="the detector")
    parser.add_class_arguments(DataModule, "data", skip={"seed", "eval_split"})
    parser.add_argument("--optimizer", type=OptimizerFactory, default=SGD, help="a torch optimizer, without `params`")
    parser.add_argument(
        "--schedule", type=Schedule | None, help="the learning rate over the run; constant if not given"
    )
    parser.add_argument("--decay_norm_and_bias", type=bool, default=True, help="weight decay on these as well")
    parser.add_argument("--ema", type=float | None, help="decay of a moving average of the weights, such as 0.9998")
    parser.add_argument("--evaluate", type=list[IouType], default=["bbox"], help="what validation compares")
    parser.add_argument("--validation_loss", type=bool, default=False, help="log losses on the validation images too")
    parser.add_argument("--pictures", type=int, default=4, help="validation images drawn after each validation")
    parser.add_argument("--save_every_n_steps", type=int | None, help="write last.ckpt also within epochs")
    parser.add_class_arguments(Trainer, "trainer", skip=OWN_TRAINER_ARGUMENTS, instantiate=False)
    parser.set_defaults({"trainer.max_epochs": 12, "trainer.log_every_n_steps": 10})
    parser.link_arguments("data.num_classes", "model.init_args.num_classes", apply_on="instantiate")


def with_resumed_config(argv: Sequence[str]) -> list[str]:
    """The command line, and with ``--resume`` alone the config of the run that it continues."""
    argv = list(argv)
    names = [argument.split("=", 1)[0] for argument in argv]
    if "--resume" not in names or "--config" in names:
        return argv
    at = names.index("--resume")
    resumed = argv[at].split("=", 1)[1] if "=" in argv[at] else (argv[at + 1 : at + 2] or [""])[0]
    config = _run_folder(resumed) / "config.yaml"
    if not Path(resumed).exists() or not config.is_file():
        missing = config if Path(resumed).exists() else resumed
        raise InputError(f"There is no run to resume: {missing} does not exist.")
    return ["--config", str(config), *argv]


def train_command(argv: Sequence[str]) -> None:
    """Parse the command line `argv` and train."""
    parser = command_parser("train", DESCRIPTION)
    add_arguments(parser)
    config = parse(parser, with_resumed_config(argv))
    train(parser, config)


def train(parser: ArgumentParser, config: Namespace) -> None:
    """Train what `config` describes; see ``detkit train --help``.

    Raises:
        InputError: something in the config, the data or the folder of the run is wrong.
    """
    quiet_lightning()
    checkpoint = checkpoint_path(config.resume, ("last.ckpt", "best.ckpt")) if config.resume else None
    folder = _run_folder(config.resume) if config.resume else Path(config.runs) / _name(config)
    resumed = read_checkpoint(checkpoint) if checkpoint else None
    if resumed is None and not config.overwrite:
        _check_free(folder)

    seed_everything(config.seed, workers=True, verbose=False)
    built = build(parser, config)
    model, data = built.model, built.data
    data.seed = config.seed
    _check_num_classes(config, data)
    model.categories = data.categories
    if resumed is not None:
        _check_labels(categories_of(resumed), data, checkpoint)
        check_weights(model, inference_weights(resumed), checkpoint)
    elif config.start_from:
        _start_from(model, config.start_from)

    truth = data.eval_dataset.ground_truth()
    module = DetectionModule(
        model,
        built.optimizer,
        built.schedule,
        {kind: CocoEvaluator(truth, kind, categories=data.categories) for kind in config.evaluate},
        config.decay_norm_and_bias,
        config.validation_loss,
        _record(parser, config, data),
    )
    if resumed is None:
        _clear(folder)
    trainer = _trainer(config, folder, resumed, data)
    _write_config(parser, config, folder)
    _fit(trainer, module, data, checkpoint)


def _fit(trainer: Trainer, module: DetectionModule, data: DataModule, checkpoint: Path | None) -> None:
    try:
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    except MisconfigurationException as error:
        raise InputError(" ".join(str(error).split())) from error
    finally:
        launcher = trainer.strategy.launcher
        if getattr(launcher, "procs", None) and trainer.interrupted:
            launcher.kill(15)


def _trainer(config: Namespace, folder: Path, resumed: dict[str, Any] | None, data: DataModule) -> Trainer:
    console = Console()
    metrics = MetricsFile(folder / "metrics.csv")
    if resumed is not None:
        metrics.resume(resumed["global_step"])
    callbacks: list[Callback | None] = [
        ProgressLines(console),
        progress_bar(console),
        ExactResume(),
        MovingAverage(config.ema) if config.ema is not None else None,
        Pictures(folder / "pictures", config.pictures, data.categories) if config.pictures else None,
        RunCheckpoints(folder, config.save_every_n_steps),
    ]
    arguments = config.trainer.as_dict()
    arguments["callbacks"] = [callback for callback in callbacks if callback] + _many(arguments.pop("callbacks"))
    arguments["logger"] = [metrics, Events(folder), *_many(arguments.pop("logger"))]
    arguments["plugins"] = [AtomicCheckpointIO(), *_many(arguments.pop("plugins"))]
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


def _run_folder(resume: str) -> Path:
    path = Path(resume)
    return path if path.is_dir() else path.parent


def _earlier_files(folder: Path) -> list[Path]:
    owned = ("best.ckpt", "last.ckpt", "metrics.csv", "config.yaml", "events.out.tfevents.*", "pictures/*.png")
    return [path for pattern in owned for path in folder.glob(pattern)]


@rank_zero_only
def _check_free(folder: Path) -> None:
    if _earlier_files(folder):
        raise InputError(
            f"{folder} already holds a run: continue it with --resume {folder}, choose another --name, "
            f"or replace it with --overwrite true."
        )


@rank_zero_only
def _clear(folder: Path) -> None:
    """Make the run's folder, without the files of an earlier run."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _earlier_files(folder):
            path.unlink()
    except OSError as error:
        raise InputError(f"The run's folder {folder} cannot be made: {error.strerror}.") from error


def _check_num_classes(config: Namespace, data: DataModule) -> None:
    given = config.get("model.init_args.num_classes")
    if given not in (None, data.num_classes):
        raise InputError(
            f"model.init_args.num_classes is {given}, but {data.train_dataset.annotations_path} has {data.num_classes} "
            f"classes: leave it out, it is taken from the data."
        )


def _start_from(model: Detector, checkpoint: str) -> None:
    path = checkpoint_path(checkpoint)
    load_matching(model, inference_weights(read_checkpoint(path)), str(path))


def _record(parser: ArgumentParser, config: Namespace, data: DataModule) -> dict[str, Any]:
    resolved = json.loads(_dump(parser, config, "json"))
    model = resolved["model"]
    model.setdefault("init_args", {})["num_classes"] = data.num_classes
    return model_record(model, data.categories, resolved)


@rank_zero_only
def _write_config(parser: ArgumentParser, config: Namespace, folder: Path) -> None:
    temporary = folder / ".config.yaml"
    temporary.write_text(_dump(parser, config, "yaml"))
    os.replace(temporary, folder / "config.yaml")


def _dump(parser: ArgumentParser, config: Namespace, style: str) -> str:
    config = config.clone()
    for name in COMMAND_ONLY:
        config.pop(name, None)
    return parser.dump(config, format=style, skip_none=False, skip_validation=True)


def _many(value: Any) -> list[Any]:
    """What a Trainer argument that takes one, many, none or a switch names."""
    if value is None or isinstance(value, bool):
        return []
    return list(value) if isinstance(value, (list, tuple)) else [value]
