"""The folder of a run: its files, and protection against overwriting another run."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from detkit.errors import InputError

TIME_FILE = "time_to_accuracy.csv"
OWNED = ("best.ckpt", "last.ckpt", "metrics.csv", "config.yaml", "events.out.tfevents.*", "pictures/*.png", TIME_FILE)


def folder_of(resume: str | Path) -> Path:
    """The folder of a run, given as the folder or as a checkpoint in it."""
    path = Path(resume)
    return path if path.is_dir() else path.parent


@rank_zero_only
def check_free(folder: Path) -> None:
    """Refuse a folder that already holds a run.

    Raises:
        InputError: it holds one.
    """
    if _files(folder):
        raise InputError(
            f"{folder} already holds a run: continue it with --resume {folder}, choose another --name, "
            f"or replace it with --overwrite."
        )


@rank_zero_only
def clear(folder: Path) -> None:
    """Create the folder, or delete the files of an earlier run in it; other files stay.

    Raises:
        InputError: it cannot be created.
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
