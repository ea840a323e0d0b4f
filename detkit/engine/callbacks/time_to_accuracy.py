"""Recording how long a training takes to reach an accuracy."""

from __future__ import annotations

import csv
import io
import logging
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detkit.engine.run.run_folder import TIME_FILE
from detkit.errors import InputError
from detkit.files import write_whole

logger = logging.getLogger(__name__)


class TimeToAccuracy(Callback):
    """Writes ``time_to_accuracy.csv`` in the run's folder: a row for each validation with the epoch, the step, the
    hours since training began, and the metrics, as DAWNBench requires (Coleman 2017).

    The time is that of training and validation together; a resumed run adds to it. In a config:
    ``trainer: {callbacks: [{class_path: detkit.engine.callbacks.time_to_accuracy.TimeToAccuracy}]}``.

    Args:
        metric: a metric that validations log.
        goal: the run ends at the validation where the metric reaches this value; DAWNBench's is 0.93 of
            ``val/classification/top5``. None: it does not end early.

    Raises:
        InputError: in a validation that does not log the metric.
    """

    def __init__(self, metric: str = "val/classification/top1", goal: float | None = None) -> None:
        self.metric, self.goal = metric, goal
        self.rows: list[dict[str, float]] = []
        self.seconds_before = 0.0

    def state_dict(self) -> dict[str, Any]:
        """The time so far and the rows."""
        return {"seconds": self._seconds(), "rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the time and the rows."""
        self.seconds_before, self.rows = state_dict["seconds"], list(state_dict["rows"])

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start the clock."""
        self.start = time.monotonic()

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write a row, and end the run at the goal."""
        if trainer.sanity_checking or trainer.state.fn != "fit":
            return
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items() if name.startswith("val/")}
        if self.metric not in metrics:
            known = ", ".join(sorted(metrics))
            raise InputError(f"TimeToAccuracy needs {self.metric}, but validation logs {known}")
        hours = self._seconds() / 3600
        self.rows.append({"epoch": trainer.current_epoch + 1, "step": trainer.global_step, "hours": hours, **metrics})
        if trainer.is_global_zero:
            self._write(Path(trainer.default_root_dir) / TIME_FILE)
        if self.goal is not None and metrics[self.metric] >= self.goal:
            logger.info("%s reached %g after %.4f hours", self.metric, self.goal, hours)
            trainer.should_stop = True

    def _seconds(self) -> float:
        return self.seconds_before + time.monotonic() - self.start

    def _write(self, path: Path) -> None:
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, list(self.rows[0]))
        writer.writeheader()
        writer.writerows(self.rows)
        write_whole(path, text.getvalue().encode())
