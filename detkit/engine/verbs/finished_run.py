"""What a training leaves: its folder, its model, the numbers of the model."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from detkit.engine.checkpoint import Checkpoint
from detkit.engine.run.metrics_rows import all_rows
from detkit.models import VisionModel


@dataclass(frozen=True, eq=False)
class Run:
    """A finished training.

    Args:
        folder: with ``best.ckpt``, ``last.ckpt``, ``metrics.csv``, ``config.yaml`` and ``pictures/``.
        model: of ``best.ckpt``, else of ``last.ckpt``: ready to predict, on the CPU.
        metrics: the numbers of the validation that chose this model, by name, such as ``AP`` or ``segm/AP``; empty
            where nothing was validated.
    """

    folder: Path
    model: VisionModel
    metrics: dict[str, float]

    def __repr__(self) -> str:
        numbers = ", ".join(f"{name}={value:.3f}" for name, value in self.metrics.items() if "/AP/" not in name)
        return f"Run({str(self.folder)!r}, {type(self.model).__name__}{', ' if numbers else ''}{numbers})"


def metrics_of(checkpoint: Checkpoint, file: Path) -> dict[str, float]:
    """The numbers of the validation that wrote a checkpoint, without the prefix ``val/``.

    Args:
        checkpoint: of a run.
        file: ``metrics.csv`` of the run.
    """
    saved = checkpoint.content.get("callbacks", {}).get("RunCheckpoints", {})
    best, monitor = saved.get("best"), saved.get("monitor")
    rows = [
        {name: float(value) for name, value in row.items() if name.startswith("val/") and value != ""}
        for row in all_rows(file)
    ]
    if best is None or monitor is None:
        return {}
    chosen = [row for row in rows if monitor in row and math.isclose(row[monitor], best, rel_tol=1e-5, abs_tol=1e-9)]
    return {name.removeprefix("val/"): value for name, value in chosen[0].items()} if chosen else {}
