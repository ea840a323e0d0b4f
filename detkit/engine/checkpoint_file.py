"""Checkpoint files: find them, read them without running code, write them in one step."""

from __future__ import annotations

import os
import zipfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from detkit.engine.config.records.checkpoint_record import check_record
from detkit.errors import InputError, first_line
from detkit.files import open_whole, os_error_of
from detkit.files.torch_files import read_torch


def checkpoint_path(checkpoint: str | Path, preferred: Sequence[str] = ("best.ckpt", "last.ckpt")) -> Path:
    """The checkpoint file that a path names: the file itself, or the first of `preferred` in a run's folder.

    Raises:
        InputError: it does not exist, or the folder has none.
    """
    path = Path(checkpoint)
    if not os.path.lexists(path):
        raise InputError(f"{path} does not exist: give a run folder, such as runs/NAME, or a checkpoint file in it.")
    if not os.path.isdir(path):  # which takes names of any length, as `Path.is_dir` does not
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
    if os.path.isfile(path) and not zipfile.is_zipfile(path):
        raise InputError(f"{path} is not a checkpoint, or it is truncated: train again or take another copy.")
    content = read_torch(path, "checkpoint", "take another copy")
    check_record(content, path)
    return dict(content)


def _read_again(unfinished: str, path: str | Path) -> dict[str, Any]:
    """As `read_checkpoint` will read the file when it is at `path`."""
    try:
        content = read_torch(unfinished, "checkpoint", "save plain values")
    except InputError as error:
        raise InputError(str(error).replace(unfinished, str(path))) from error
    check_record(content, path)
    return dict(content)


def write_checkpoint(
    content: Mapping[str, Any], path: str | Path, check: Callable[[Mapping[str, Any]], None] | None = None
) -> None:
    """Write `content` at `path` in one step: a crash or a full disk leaves the file that was there before.

    Args:
        content: plain values and tensors.
        path: of the file.
        check: called with what `read_checkpoint` makes of the new file, before that takes its place at `path`; it
            raises InputError to refuse it.

    Raises:
        InputError: the disk is full, the folder cannot be written, or the file could not be read again.
    """
    try:
        with open_whole(path) as file:
            torch.save(content, file)
            file.flush()
            if check is not None and os.path.isfile(file.name):
                check(_read_again(file.name, path))
    except (InputError, RuntimeError) as error:  # torch wraps some errors of the file
        reason = os_error_of(error) or error
        raise InputError(
            f"Checkpoint {path} could not be written ({first_line(reason)}); the one before it is untouched."
        ) from error
