"""The loggers of a run: ``metrics.csv`` and TensorBoard's events."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import DummyExperiment, Logger, rank_zero_experiment
from lightning.pytorch.utilities.rank_zero import rank_zero_only

from detkit.engine.run.metrics_rows import Row, append, as_text, is_repeated, rows_before
from detkit.files import os_error_of, write_whole


class MetricsFile(Logger):
    """Writes ``metrics.csv``: a row for each call of the logger, a column for each metric.

    A resumed run drops the rows from its step on. A validation that it repeats replaces its row.

    Args:
        path: the file.
        held: whether rows wait in memory until `release`; the file stays as it is until then.
    """

    def __init__(self, path: str | Path, held: bool = False) -> None:
        super().__init__()
        self.path = Path(path)
        self.held = held
        self.columns: list[str] = []
        self.rows: list[Row] = []

    @property
    def name(self) -> str:
        """Empty: Lightning's `ModelCheckpoint` makes a folder of this name."""
        return ""

    @property
    def version(self) -> str:
        """Empty: there is one per run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Keep the rows of an earlier part of this run before `step`.

        Raises:
            InputError: the file is none of metrics, or cannot be written.
        """
        self.columns, self.rows = rows_before(self.path, step)
        if not self.held and self.columns:
            self._write_all()

    @rank_zero_only
    def release(self) -> None:
        """Write the rows so far, and each further one as it comes."""
        self.held = False
        if self.columns:
            self._write_all()

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row."""
        row = {"step": step, **metrics}
        new = [name for name in row if name not in self.columns]
        self.columns += new
        repeated = bool(self.rows) and is_repeated(row, self.rows[-1])
        self.rows[len(self.rows) - repeated :] = [row]
        if self.held:
            return
        if new or repeated:
            self._write_all()
        else:
            append(self.path, as_text(self.columns, [row], header=False))

    def _write_all(self) -> None:
        write_whole(self.path, as_text(self.columns, self.rows, header=True))


class Events(TensorBoardLogger):
    """Writes TensorBoard's events to the run's folder itself, without the empty ``hparams.yaml`` of Lightning.

    Args:
        folder: the run's folder.
        held: whether events wait in memory until `release`; there is no file until then.
    """

    def __init__(self, folder: str | Path, held: bool = False) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)
        self.held = held
        self.waiting: list[tuple[dict[str, float], int | None]] = []

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """TensorBoard's writer; one that writes nothing until `release`."""
        return DummyExperiment() if self.held else super().experiment

    def release(self, step: int | None = None) -> None:
        """Write what has been logged so far, and all that follows.

        Args:
            step: of a resumed run: TensorBoard then drops the events of older files from it on.
        """
        self.held = False
        if step is not None:
            self._kwargs["purge_step"] = step
        waiting, self.waiting = self.waiting, []
        for metrics, at in waiting:
            self.log_metrics(metrics, at)

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add the numbers of a step."""
        if self.held:
            self.waiting.append((dict(metrics), step))
        else:
            super().log_metrics(metrics, step)

    @rank_zero_only
    def save(self) -> None:
        """Flush the events to the disk."""
        self.experiment.flush()


@contextmanager
def writer_threads_quiet() -> Iterator[None]:
    """Print no traceback of a thread that cannot write: TensorBoard raises its error again at the next event."""
    usual = threading.excepthook

    def hook(failure: threading.ExceptHookArgs) -> None:
        if failure.exc_value is None or os_error_of(failure.exc_value) is None:
            usual(failure)

    threading.excepthook = hook
    try:
        yield
    finally:
        threading.excepthook = usual
