"""Defaults of a command line from what it names: a run to resume, or a checkpoint with its recipe."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentError, ArgumentParser

from detkit.data import DataModule
from detkit.engine.checkpoint import Checkpoint
from detkit.engine.config.old_configs import modernize
from detkit.engine.config.parse_errors import describe_parse_error
from detkit.engine.config.records.record_parser import parse_record, record_parser
from detkit.engine.config.trust import check_trusted
from detkit.engine.run.run_folder import folder_of
from detkit.errors import InputError

EXPLICIT_PATHS = [f"{split}_{what}" for split in ("train", "val", "test") for what in ("images", "annotations")]
"""Arguments of the data that a new ``data.root`` replaces."""

FOR_TRAINING = ("augmentation", "mixing", "mixing_epochs", "sources")
"""Arguments of the data that a command with a checkpoint does not need."""

WORDS = ("root", "format", *EXPLICIT_PATHS, "train_split", "val_split", "class_names", "image_class", "reads")
"""Arguments of the data that hold words and paths, which never name code, also if they have a dot."""


def option_values(argv: Sequence[str], option: str) -> list[str]:
    """The values of an option that takes one, from a command line that is not parsed yet."""
    values: list[str] = []
    for index, argument in enumerate(argv):
        name, equals, value = argument.partition("=")
        if name == option:
            values += [value] if equals else argv[index + 1 : index + 2]
    return values


def with_resumed_config(argv: Sequence[str]) -> list[str]:
    """Add ``--config`` of the resumed run to a command line that has ``--resume`` and no config.

    Raises:
        InputError: there is no such run.
    """
    resumed = option_values(argv, "--resume")
    if not resumed or any(argument.partition("=")[0] == "--config" for argument in argv):
        return list(argv)
    config = folder_of(resumed[0]) / "config.yaml"
    if not Path(resumed[0]).exists() or not config.is_file():
        missing = config if Path(resumed[0]).exists() else resumed[0]
        raise InputError(f"There is no run to resume: {missing} does not exist.")
    return ["--config", str(config), *argv]


def read_named_checkpoint(parser: ArgumentParser, argv: Sequence[str]) -> Checkpoint | None:
    """Read the checkpoint of ``--checkpoint``, and make the data that it was trained with the parser's default.

    Args:
        parser: has the arguments of `DataModule` as ``data``.
        argv: the command line, not parsed yet.

    Returns:
        The checkpoint; None where the command line names none.

    Raises:
        InputError: the checkpoint cannot be read, or names classes that are not trusted.
    """
    named = option_values(argv, "--checkpoint")
    if not named:
        return None
    checkpoint = Checkpoint.read(named[-1])
    data = recorded_data(checkpoint, argv)
    known = set(parser.get_defaults().keys(branches=True))
    parser.set_defaults({key: value for key, value in _flat("data", data, known) if key in known})
    return checkpoint


def recorded_data(checkpoint: Checkpoint, argv: Sequence[str]) -> dict[str, Any]:
    """The data of a checkpoint's recipe, apart from what only training uses and what the command line gives itself.

    Raises:
        InputError: it names code that is not trusted, or does not fit the arguments of `DataModule`.
    """
    recorded = modernize({"data": checkpoint.recipe.get("data") or {}})["data"]
    if not isinstance(recorded, Mapping):
        raise InputError(f"{checkpoint.path}: detkit.config.data must be a mapping of arguments.")
    left_out = {*FOR_TRAINING, *(key for key in recorded if option_values(argv, f"--data.{key}"))}
    if option_values(argv, "--data.root"):
        left_out |= {*EXPLICIT_PATHS, "format"}
    arguments = inspect.signature(DataModule).parameters
    data = {key: value for key, value in recorded.items() if key in arguments and key not in left_out}
    code = {key: value for key, value in data.items() if key not in WORDS}
    check_trusted(code, option_values(argv, "--trust"), checkpoint.path)
    parser = record_parser()
    parser.add_class_arguments(DataModule, "data")
    try:
        parsed: dict[str, Any] = parse_record(parser, {"data": data}).data.as_dict()
    except ArgumentError as error:
        raise InputError(describe_parse_error(error, parser, ["--config", str(checkpoint.path)])) from error
    check_trusted({key: parsed[key] for key in code}, option_values(argv, "--trust"), checkpoint.path)
    return {key: parsed[key] for key in data}


def default_to_training_data(parser: ArgumentParser, argv: Sequence[str]) -> dict[str, Any]:
    """As `read_named_checkpoint`, but returns the recipe alone; kept for callers of the previous release."""
    checkpoint = read_named_checkpoint(parser, argv)
    return {} if checkpoint is None else dict(checkpoint.recipe)


def _flat(key: str, value: Any, known: set[str]) -> list[tuple[str, Any]]:
    """Nested values by dotted keys, down to those that the parser has."""
    if isinstance(value, Mapping) and not (key in known and key != "data"):
        return [pair for name, inner in value.items() for pair in _flat(f"{key}.{name}", inner, known)]
    return [(key, value)]
