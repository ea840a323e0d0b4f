"""When a training begins to write: its first batch has succeeded, so that wrong input has cost nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detkit.engine.callbacks.loggers import Events, MetricsFile
from detkit.engine.run.run_folder import clear, remove_left_over, write_config


class RunStart(Callback):
    """Writes to the run's folder from the end of the first batch on; all files are as before until then.

    Until a batch has gone through, a setting, an image or the state of a resumed run can still be found wrong.

    Args:
        folder: the run's folder.
        config: the text of ``config.yaml``.
        resumed_at: the step at which a resumed run goes on; None: the run is new, and replaces one in the folder.
    """

    def __init__(self, folder: Path, config: str, resumed_at: int | None) -> None:
        self.folder = folder
        self.config = config
        self.resumed_at = resumed_at
        self.metrics = MetricsFile(folder / "metrics.csv", held=True)
        self.events = Events(folder, held=True)
        self.started = False
        if resumed_at is not None:
            self.metrics.resume(resumed_at)

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Start."""
        self.start()

    def on_validation_batch_end(self, trainer: Trainer, module: LightningModule, *args: Any) -> None:
        """Start, where a run is resumed within a validation."""
        if not trainer.sanity_checking:
            self.start()

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Start, where a run is resumed at the end of an epoch."""
        self.start()

    def start(self) -> None:
        """Write the config and what has been logged so far, unless that has happened.

        Raises:
            InputError: a file cannot be written.
        """
        if self.started:
            return
        self.started = True
        remove_left_over(self.folder)
        if self.resumed_at is None:
            clear(self.folder)
        self.metrics.release()
        self.events.release(self.resumed_at)
        write_config(self.folder, self.config)
