"""Checkpoint files: find them, read them without running code, write them in one step."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from detkit.errors import InputError
from detkit.files import open_whole


def checkpoint_path(checkpoint: str | Path, preferred: Sequence[str] = ("best.ckpt", "last.ckpt")) -> Path:
    """The checkpoint file that a path names: the file itself, or the first of `preferred` in a run's folder.

    Raises:
        InputError: the folder has none.
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
    try:
        with open_whole(path) as file:
            torch.save(content, file)
    except (InputError, RuntimeError) as error:  # torch wraps some errors of the file
        reason = error.__cause__ or error
        raise InputError(
            f"Checkpoint {path} could not be written ({_first_line(reason)}); the one before it is untouched."
        ) from error


def _first_line(error: BaseException) -> str:
    text = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
    return (text.splitlines() or [type(error).__name__])[0]
