"""The loggers of a run: ``metrics.csv`` and TensorBoard's events."""

from __future__ import annotations

import csv
import io
import os
import tempfile
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities.rank_zero import rank_zero_only


class MetricsFile(Logger):
    """Writes ``metrics.csv``: a row for each call of the logger, a column for each metric.

    A resumed run drops the rows from its step on.

    Args:
        path: the file.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path = Path(path)
        self.columns: list[str] = []
        self.rows: list[dict[str, Any]] = []

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
        """Keep the rows of an earlier part of this run before `step`."""
        if self.path.is_file():
            with open(self.path, newline="") as file:
                reader = csv.DictReader(file)
                self.rows = [row for row in reader if int(row["step"]) < step]
                self.columns = list(reader.fieldnames or [])
            self._write(self.rows, whole=True)

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Add a row."""
        row = {"step": step, **metrics}
        new = [name for name in row if name not in self.columns]
        self.columns += new
        self.rows.append(row)
        self._write(self.rows if new else [row], whole=bool(new))

    def _write(self, rows: list[dict[str, Any]], whole: bool) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, self.columns)
        if whole:
            writer.writeheader()
        writer.writerows(rows)
        if not whole:
            with open(self.path, "a", newline="") as file:
                file.write(text.getvalue())
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, newline="", delete=False) as unfinished:
            unfinished.write(text.getvalue())
        os.chmod(unfinished.name, 0o644)
        os.replace(unfinished.name, self.path)


class Events(TensorBoardLogger):
    """Writes TensorBoard's events to the run's folder itself, without the empty ``hparams.yaml`` of Lightning."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    @rank_zero_only
    def save(self) -> None:
        """Flush the events to the disk."""
        self.experiment.flush()
