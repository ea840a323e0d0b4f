"""Checkpoint files: what a run leaves behind, and how a detector comes back from one file alone.

A checkpoint is a dictionary of plain values and tensors, so it is read with ``weights_only=True`` and runs no code.
``detkit`` holds what describes the model; ``state_dict`` the trained weights; ``ema`` their moving average if the run
kept one, and then that is what inference uses. Checkpoints of a run also hold Lightning's own state for resuming.
"""

from __future__ import annotations

import copy
import os
import pickle
import tempfile
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

import detkit
from detkit.engine.building import build
from detkit.engine.config.model_settings import check_describes
from detkit.engine.config.old_configs import modernized
from detkit.engine.config.parse_errors import explain
from detkit.engine.config.trust import check_trusted, packages_of
from detkit.errors import InputError
from detkit.models import VisionModel
from detkit.structures import UNUSED_LABEL, Category

PREFIX = "model."  # the detector's place in the training module


def load(checkpoint: str | Path, device: torch.device | str | None = None, trust: Sequence[str] = ()) -> VisionModel:
    """Rebuild the detector of a checkpoint, ready to predict: eval mode, its categories set, averaged weights if any.

    The file is read without running code from it, and only detkit's own classes and torch's layers are built.

    Args:
        checkpoint: a ``.ckpt`` of a run, or a run's folder (its ``best.ckpt``, else ``last.ckpt``).
        device: where the model goes; the CPU if not given.
        trust: names of further packages whose classes may be built, such as ``["mypackage"]``.

    Raises:
        InputError: the file is missing, truncated or no checkpoint; it names a class outside of detkit and `trust`;
            or its weights don't fit the model it describes.
    """
    path = checkpoint_path(checkpoint)
    content = read_checkpoint(path)
    record = content["detkit"]
    model = build_model(record["model"], trust, path)
    weights = inference_weights(content)
    check_weights(model, weights, path)
    model.load_state_dict(weights)
    model.categories = categories_of(content)
    return model.to(device or "cpu").eval()


def save_model(
    model: VisionModel,
    model_config: Mapping[str, Any] | None,
    path: str | Path,
    config: Mapping[str, Any] | None = None,
) -> None:
    """Write `model` as a checkpoint that `load` rebuilds.

    Args:
        model: the detector; its `categories` go with it.
        model_config: how to build it, as in a config file: ``{"class_path": "detkit.models.FasterRCNN",
            "init_args": {...}}``. Paths of pretrained weights in it are dropped: the file holds the weights. None: ask
            the model, which has a `recipe` if it comes from darknet's files.
        path: the file to write; replaced in one step.
        config: the recipe of the run that it comes from, if any.

    Raises:
        InputError: the config builds another model, such as one with another threshold; or the disk is full or the
            folder cannot be written.
    """
    if model_config is None:
        if not hasattr(model, "recipe"):
            raise InputError(f"a {type(model).__name__} cannot say how to build it: give save_model its config")
        model_config = model.recipe()
    bare = _without_pretrained(model_config)
    with torch.random.fork_rng():
        check_describes(model, build_model(bare, packages_of(bare), path), type(model).__name__)
    weights = {PREFIX + name: value for name, value in model.state_dict().items()}
    record = model_record(model_config, model.categories or [], config)
    write_checkpoint({"detkit": record, "state_dict": weights}, path)


def model_record(
    model_config: Mapping[str, Any], categories: Sequence[Category], config: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """What describes a model in a checkpoint: its recipe without pretrained files, its categories, the run's config."""
    return {
        "version": detkit.__version__,
        "model": _without_pretrained(model_config),
        "categories": [category.record() for category in categories],
        "config": dict(config or {}),
    }


def categories_of(content: Mapping[str, Any]) -> list[Category]:
    """The categories of a checkpoint, in the order of its labels."""
    return [Category(**category) for category in content["detkit"]["categories"]]


def check_categories(model: Sequence[Category], data: Sequence[Category], checkpoint: str | Path, source: str) -> None:
    """Refuse data whose class names are not the model's, in whatever order.

    Raises:
        InputError: the names differ; both lists are in the message.
    """
    theirs = [category.name for category in data]
    ours = [category.name for category in model if category.name != UNUSED_LABEL]
    if sorted(theirs) != sorted(ours):
        raise InputError(
            f"{checkpoint} was trained on {len(ours)} classes {_listed(ours)}, but {source} has {len(theirs)} "
            f"{_listed(theirs)}: give it data with the same classes, or train a model for these."
        )


def checkpoint_path(checkpoint: str | Path, preferred: Sequence[str] = ("best.ckpt", "last.ckpt")) -> Path:
    """The checkpoint file that is meant by a file or by a run's folder.

    Raises:
        InputError: there is none.
    """
    path = Path(checkpoint)
    if not path.is_dir():
        return path
    for name in preferred:
        if (path / name).is_file():
            return path / name
    raise InputError(f"{path} has no checkpoint: neither {' nor '.join(preferred)} is in it.")


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        InputError: the file is missing, truncated, no checkpoint of detkit, or tries to run code.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"Checkpoint {path} does not exist.")
    if not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a checkpoint, or it is truncated: train again or take another copy.")
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise InputError(f"{path} holds more than weights and plain values; it was refused without running it.") from (
            error
        )
    except (RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise InputError(f"{path} is not a readable checkpoint ({_first_line(error)}).") from error
    record = content.get("detkit") if isinstance(content, dict) else None
    if not isinstance(record, dict) or not {"model", "categories"} <= record.keys() or "state_dict" not in content:
        raise InputError(f"{path} is not a checkpoint of detkit: it does not say how to build its model.")
    return content


def write_checkpoint(content: Mapping[str, Any], path: str | Path) -> None:
    """Write `content` at `path` in one step: a crash or a full disk leaves the file that was there before.

    Raises:
        InputError: the disk is full or the folder cannot be written.
    """
    path = Path(path)
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            torch.save(content, file)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"Checkpoint {path} could not be written ({_first_line(error)}); the one before it is untouched."
        ) from error
    finally:
        if temporary and os.path.exists(temporary):
            os.unlink(temporary)


def build_model(model_config: Mapping[str, Any], trust: Sequence[str], path: str | Path) -> VisionModel:
    """Build the detector that `model_config` describes, its weights as initialized.

    Raises:
        InputError: it names something outside of detkit and `trust`, or does not fit its class's arguments.
    """
    from jsonargparse import ArgumentError, ArgumentParser

    check_trusted(model_config, trust, path)
    parser = ArgumentParser(exit_on_error=False)
    parser.add_subclass_arguments(VisionModel, "model", required=True)
    try:
        config = parser.parse_object(modernized({"model": copy.deepcopy(dict(model_config))}))
        check_trusted(config.as_dict()["model"], trust, path)
        return build(parser, config).model
    except ArgumentError as error:
        reason = explain(error, parser, ["--config", str(path)])
        raise InputError(f"detkit {detkit.__version__} cannot build the model of {reason}") from error


def inference_weights(content: Mapping[str, Any]) -> dict[str, Tensor]:
    """The weights of a checkpoint that detect best, by the detector's names: the moving average if there is one."""
    return _of_model(content.get("ema") or content["state_dict"])


def check_weights(model: VisionModel, weights: Mapping[str, Tensor], path: str | Path) -> None:
    """Refuse weights that do not fit the model.

    Raises:
        InputError: it lists what is missing, in excess or of another shape.
    """
    own = model.state_dict()
    missing = [name for name in own if name not in weights]
    unexpected = [name for name in weights if name not in own]
    reshaped = [
        f"{name} {_shape(weights[name])} instead of {_shape(value)}"
        for name, value in own.items()
        if name in weights and _shape(weights[name]) != _shape(value)
    ]
    problems = {"lacks": missing, "has in excess": unexpected, "has in another shape": reshaped}
    found = [f"{verb} {_listed(names)}" for verb, names in problems.items() if names]
    if found:
        raise InputError(f"The weights in {path} do not fit the {type(model).__name__}: it {'; it '.join(found)}.")


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


def _shape(value: Tensor) -> tuple[int, ...]:
    return tuple(value.shape)


def _listed(names: Sequence[str], most: int = 20) -> str:
    return "[" + ", ".join(names[:most]) + (f", and {len(names) - most} more" if len(names) > most else "") + "]"


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
