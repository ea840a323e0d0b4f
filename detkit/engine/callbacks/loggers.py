"""What a run logs to: ``metrics.csv`` and TensorBoard's events."""

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
    """``metrics.csv``: a row for each time that something was logged, a column for each number.

    A resumed run drops the rows after the step it goes on from.

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
        """Its file's name."""
        return self.path.name

    @property
    def version(self) -> str:
        """There is one per run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def resume(self, step: int) -> None:
        """Keep what an earlier part of this run has logged before `step`."""
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
        with tempfile.NamedTemporaryFile("w", dir=self.path.parent, newline="", delete=False) as file:
            file.write(text.getvalue())
        os.chmod(file.name, 0o644)
        os.replace(file.name, self.path)


class Events(TensorBoardLogger):
    """TensorBoard's events in the run's folder itself, without the empty ``hparams.yaml`` that Lightning adds."""

    def __init__(self, folder: str | Path) -> None:
        super().__init__(folder, name="", version="", default_hp_metric=False)

    @rank_zero_only
    def save(self) -> None:
        """Bring the events to the disk."""
        self.experiment.flush()
