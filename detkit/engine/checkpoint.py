"""Checkpoints: write them, and rebuild a model from one file alone.

A checkpoint is a dictionary of plain values and tensors, so it is read with ``weights_only=True`` and runs no code.
``detkit`` describes the model; ``state_dict`` holds the trained weights; ``ema`` their moving average if the run kept
one, and then inference uses it. Checkpoints of a run also hold Lightning's own state for resuming.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from jsonargparse import ArgumentError
from torch import Tensor

import detkit
from detkit.engine.checkpoint_checks import check_categories, check_weights
from detkit.engine.checkpoint_file import checkpoint_path, read_checkpoint, write_checkpoint
from detkit.engine.config.building import build
from detkit.engine.config.old_configs import modernize
from detkit.engine.config.parse_errors import describe_parse_error
from detkit.engine.config.records.checkpoint_record import categories_in, provenance_in
from detkit.engine.config.records.parameter_bound import bounded_by
from detkit.engine.config.records.record_parser import parse_record, record_parser
from detkit.engine.config.trust import check_trusted, packages_of
from detkit.errors import InputError, first_line
from detkit.model_settings import check_describes
from detkit.models import VisionModel
from detkit.object_config import config_of, record_config
from detkit.structures import Category, WeightsSource

if TYPE_CHECKING:
    from detkit.data import DataModule
    from detkit.data.image_dataset import ImageDataset
    from detkit.data.splits import Split

__all__ = [
    "PREFIX", "Checkpoint", "build_model", "categories_of", "check_categories", "check_weights",
    "checkpoint_path", "inference_weights", "load", "model_record", "read_checkpoint", "save_model",
    "write_checkpoint",
]  # fmt: skip

PREFIX = "model."  # of the model's weights in the training module


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """A checkpoint that is read once and gives everything in it.

    Args:
        path: of the file.
        content: as `read_checkpoint` gives it.
    """

    path: Path
    content: Mapping[str, Any]

    @classmethod
    def read(cls, checkpoint: str | Path, preferred: Sequence[str] = ("best.ckpt", "last.ckpt")) -> Checkpoint:
        """Read a checkpoint, given as a file or as a run's folder.

        Raises:
            InputError: the file is missing, truncated, no checkpoint of detkit, or tries to run code.
        """
        path = checkpoint_path(checkpoint, preferred)
        return cls(path, read_checkpoint(path))

    @property
    def record(self) -> Mapping[str, Any]:
        """The description of the model, see `model_record`."""
        record: Mapping[str, Any] = self.content["detkit"]
        return record

    @property
    def recipe(self) -> Mapping[str, Any]:
        """The resolved recipe of the training; empty where there was none."""
        recipe: Mapping[str, Any] = self.record.get("config") or {}
        return recipe

    @property
    def categories(self) -> list[Category]:
        """The categories, in the order of the labels."""
        return categories_of(self.content)

    @property
    def provenance(self) -> tuple[WeightsSource, ...]:
        """Where the weights come from; empty if they were random, or if an older release did not say."""
        return provenance_in(self.record, self.path) or ()

    @property
    def weights(self) -> dict[str, Tensor]:
        """The weights for inference, by the model's own names."""
        return inference_weights(self.content)

    def model(self, device: torch.device | str | None = None, trust: Sequence[str] = ()) -> VisionModel:
        """Build the model, ready to predict: eval mode, its categories set, averaged weights if there are any.

        Raises:
            InputError: the checkpoint names a class outside of detkit and `trust`, or its weights do not fit the model.
        """
        weights = self.weights
        with bounded_by(weights.values(), str(self.path)):
            model = build_model(self.record["model"], trust, self.path)
        check_weights(model, weights, self.path)
        model.load_state_dict(weights)
        model.categories = self.categories
        model.provenance = self.provenance
        return model.to(device or "cpu").eval()

    def dataset(self, data: DataModule, model: VisionModel, split: Split) -> ImageDataset:
        """Open a split of data for the model of this checkpoint, with the fields of targets that the model needs.

        Raises:
            InputError: the split is missing or wrong, or has other classes.
        """
        data.read_for(model.learns_from, model.asks_for)
        data.class_names = data.class_names or [category.name for category in self.categories]
        dataset = data.dataset(split)
        check_categories(self.categories, dataset.categories, self.path, str(dataset.annotations_path))
        return dataset


def load(checkpoint: str | Path, device: torch.device | str | None = None, trust: Sequence[str] = ()) -> VisionModel:
    """Rebuild the model of a checkpoint, ready to predict: eval mode, its categories set, averaged weights if any.

    The file is read without running code from it, and only detkit's own classes and torch's layers are built.

    Args:
        checkpoint: a ``.ckpt`` of a run, or a run's folder (its ``best.ckpt``, else ``last.ckpt``).
        device: where the model goes; the CPU if not given.
        trust: names of further packages whose classes may be built, such as ``["mypackage"]``.

    Raises:
        InputError: the file is missing, truncated or no checkpoint; it names a class outside of detkit and `trust`;
            or its weights don't fit the model it describes.
    """
    return Checkpoint.read(checkpoint).model(device, trust)


def save_model(
    model: VisionModel,
    model_config: Mapping[str, Any] | None,
    path: str | Path,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write `model` as a checkpoint that `load` rebuilds.

    Args:
        model: its `categories` and `provenance` are saved with it.
        model_config: how to build it, as in a config file: ``{"class_path": "detkit.models.FasterRCNN",
            "init_args": {...}}``. Paths of pretrained weights in it are dropped: the file holds the weights. None: what
            the model was made with, see `config_of`.
        path: the file to write; replaced in one step.
        config: the recipe of the run that trained it, if any.

    Raises:
        InputError: `load` could not read it: the config builds another model, such as one with another threshold, or
            a class is defined in the running script; or the disk is full or the folder cannot be written. The file
            that was there is untouched.
    """
    if model_config is None:
        model_config = config_of(model)
    if type(model).__module__ == "__main__":
        raise InputError(
            f"{type(model).__name__} is defined in the running script, from which load cannot import it: move it to a "
            "module of its own"
        )
    bare = _without_pretrained(model_config)
    weights = {PREFIX + name: value for name, value in model.state_dict().items()}
    with torch.random.fork_rng(), bounded_by(weights.values(), str(path)):
        built = build_model(bare, packages_of(bare), path)
    check_describes(model, built, type(model).__name__)
    record = model_record(model_config, model.categories or [], config, model.provenance)
    content = {"detkit": record, "state_dict": weights}
    write_checkpoint(content, path, lambda read: check_weights(built, inference_weights(read), path))


def model_record(
    model_config: Mapping[str, Any],
    categories: Sequence[Category],
    config: Mapping[str, Any] | None = None,
    provenance: Sequence[WeightsSource] = (),
) -> dict[str, Any]:
    """The description of a model in a checkpoint: its recipe, categories, run's config and sources."""
    return {
        "version": detkit.__version__,
        "model": _without_pretrained(model_config),
        "categories": [category.record() for category in categories],
        "config": dict(config or {}),
        "provenance": [source.record() for source in provenance],
    }


def categories_of(content: Mapping[str, Any]) -> list[Category]:
    """The categories of a checkpoint, in the order of its labels."""
    return categories_in(content["detkit"], "the checkpoint")


def build_model(model_config: Mapping[str, Any], trust: Sequence[str], path: str | Path) -> VisionModel:
    """Build the model that `model_config` describes, its weights as initialized.

    Raises:
        InputError: it names something outside of detkit and `trust`, or does not fit its class's arguments.
    """
    check_trusted(model_config, trust, path)
    parser = record_parser()
    parser.add_argument("--model", type=VisionModel, required=True)
    try:
        config = parse_record(parser, modernize({"model": model_config}))
        check_trusted(config.as_dict()["model"], trust, path)
        model: VisionModel = build(parser, config).model
        record_config(model, model_config)
        return model
    except ArgumentError as error:
        reason = describe_parse_error(error, parser, ["--config", str(path)])
        raise InputError(f"detkit {detkit.__version__} cannot build the model of {reason}") from error
    except Exception as error:  # constructors end with errors of any type where a number is invalid
        if isinstance(error, InputError) and str(path) in str(error):
            raise
        raise InputError(
            f"detkit {detkit.__version__} cannot build the model of {path} ({first_line(error)})."
        ) from error


def inference_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint for inference, by the model's own names: the moving average if there is one."""
    return _of_model(content.get("ema") or content["state_dict"])


def _of_model(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(PREFIX): value for name, value in weights.items() if name.startswith(PREFIX)}


def _without_pretrained(config: Any) -> Any:
    """`config` without the file or the download that any `weights` names, at any depth."""
    if isinstance(config, Mapping):
        return {
            key: None if key == "weights" and isinstance(value, str) else _without_pretrained(value)
            for key, value in config.items()
        }
    if isinstance(config, (list, tuple)):
        return [_without_pretrained(value) for value in config]
    return config
