"""The folder of a run: whose it is, and that no run overwrites another unasked."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from detkit.errors import InputError

TIME_FILE = "time_to_accuracy.csv"
OWNED = ("best.ckpt", "last.ckpt", "metrics.csv", "config.yaml", "events.out.tfevents.*", "pictures/*.png", TIME_FILE)


def folder_of(resume: str | Path) -> Path:
    """The folder of the run that a checkpoint, or the folder itself, names."""
    path = Path(resume)
    return path if path.is_dir() else path.parent


@rank_zero_only
def check_free(folder: Path) -> None:
    """Refuse a folder that holds a run.

    Raises:
        InputError: it does.
    """
    if _files(folder):
        raise InputError(
            f"{folder} already holds a run: continue it with --resume {folder}, choose another --name, "
            f"or replace it with --overwrite."
        )


@rank_zero_only
def clear(folder: Path) -> None:
    """Make the folder, without the files of an earlier run; other files in it stay.

    Raises:
        InputError: it cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path in _files(folder):
            path.unlink()
    except OSError as error:
        raise InputError(f"The run's folder {folder} cannot be made: {error.strerror}.") from error


@rank_zero_only
def write_config(folder: Path, config: str) -> None:
    """Write ``config.yaml``."""
    unfinished = folder / ".config.yaml"
    unfinished.write_text(config)
    os.replace(unfinished, folder / "config.yaml")


def _files(folder: Path) -> list[Path]:
    return [path for pattern in OWNED for path in folder.glob(pattern)]
