"""The folder of a run: its files, and protection against overwriting another run."""

from __future__ import annotations

import os
from pathlib import Path

from lightning.pytorch.utilities.rank_zero import rank_zero_only

from detkit.engine.checkpoint_file import checkpoint_path
from detkit.errors import InputError
from detkit.files import not_written, remove_unfinished, write_whole

TIME_FILE = "time_to_accuracy.csv"
CHECKPOINTS = ("last.ckpt", "best.ckpt")
OWNED = (
    *CHECKPOINTS,
    "metrics.csv",
    "config.yaml",
    "events.out.tfevents.*",
    "pictures/*.png",
    TIME_FILE,
    "report.html",
)
LEFT_OVER = (".last.ckpt.*", ".best.ckpt.*", ".config.yaml")
"""Unfinished files that killed runs of the previous release have left."""


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
    if not _files(folder):
        return
    if not any((folder / name).is_file() for name in CHECKPOINTS):
        raise InputError(
            f"{folder} already holds a run, which ended before its first checkpoint: start it again with --overwrite, "
            f"or choose another --name."
        )
    raise InputError(
        f"{folder} already holds a run: continue it with --resume {folder}, choose another --name, "
        f"or replace it with --overwrite."
    )


def checkpoint_to_resume(resume: str | Path) -> Path:
    """The checkpoint from which a run goes on, given as the run's folder or as the checkpoint itself.

    Raises:
        InputError: there is no such folder, or it has none.
    """
    try:
        return checkpoint_path(resume, CHECKPOINTS)
    except InputError:
        path = Path(resume)
        if not os.path.isdir(path):
            raise
        raise InputError(
            f"{path} has no checkpoint (neither {' nor '.join(CHECKPOINTS)}), so its run cannot be resumed: start it "
            f"again with --config {path / 'config.yaml'} --name {path.name} --overwrite."
        ) from None


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
        raise not_written(folder, error) from error


@rank_zero_only
def remove_left_over(folder: Path) -> None:
    """Remove the unfinished files of killed runs."""
    for part in (folder, folder / "pictures"):
        remove_unfinished(part)
    for pattern in LEFT_OVER:
        for path in folder.glob(pattern):
            path.unlink(missing_ok=True)


@rank_zero_only
def write_config(folder: Path, config: str) -> None:
    """Write ``config.yaml``.

    Raises:
        InputError: it cannot be written.
    """
    write_whole(folder / "config.yaml", config)


def _files(folder: Path) -> list[Path]:
    return [path for pattern in OWNED for path in folder.glob(pattern)]
