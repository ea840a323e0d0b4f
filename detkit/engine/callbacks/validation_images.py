"""Validation images with ground truth and predictions, drawn after each validation."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from detkit.engine.evaluation_module import Batch
from detkit.models.answers import Answer
from detkit.structures import Category, Target
from detkit.visualization import Drawing, save_comparison


class ValidationImages(Callback):
    """Draws the first images of each validation to one file, ground truth on the left, predictions on the right.

    Args:
        folder: gets ``epoch_003.png`` …
        count: number of images.
        categories: the names of the classes.
        drawing: draws the answers, such as the model's task; default: see `save_comparison`.
    """

    def __init__(
        self, folder: Path, count: int, categories: Sequence[Category], drawing: Drawing | None = None
    ) -> None:
        self.folder = folder
        self.count = count
        self.categories = categories
        self.drawing = drawing
        self.drawn: list[tuple[Tensor, Target, Answer]] = []

    def on_validation_epoch_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Start a new drawing."""
        self.drawn = []

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        module: LightningModule,
        outputs: list[Answer],  # type: ignore[override]  # see EvaluationModule.validation_step
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Keep the first images."""
        missing = self.count - len(self.drawn)
        if trainer.is_global_zero and not trainer.sanity_checking and missing > 0:
            images, targets = batch
            triples = list(zip(images, targets, outputs, strict=True))[:missing]
            self.drawn += [(image.cpu(), target.to("cpu"), answer.to("cpu")) for image, target, answer in triples]

    def on_validation_end(self, trainer: Trainer, module: LightningModule) -> None:
        """Write the drawing."""
        if self.drawn:
            images, targets, answers = zip(*self.drawn, strict=True)
            path = self.folder / f"epoch_{trainer.current_epoch + 1:03d}.png"
            save_comparison(path, images, targets, answers, self.categories, drawing=self.drawing)
        self.drawn = []
