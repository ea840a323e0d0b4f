"""Training that starts with small images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from detkit.engine.callbacks.multi_scale import resizable_preprocess, trained_model
from detkit.errors import InputError
from detkit.preprocess import Preprocess


class ProgressiveResizing(Callback):
    """Gives training images another size from certain epochs on: small ones first, which cost less (DAWNBench's fast
    trainings of ResNet-50; Howard 2018).

    Training images are resized as a whole, also where the model takes a center crop of others; `Preprocess.resize_to`
    defines what a side means. Validation, and the model that is saved, have the size of the config. An augmentation
    that crops training images to a size should use the largest one. In a config: ``trainer: {callbacks: [{class_path:
    detkit.engine.callbacks.progressive_resizing.ProgressiveResizing, init_args: {sides: [[0, 128], [14, 224]]}}]}``.

    Args:
        sides: pairs of an epoch, counted from 0, and the side in pixels of the input from there on; the first epoch
            is 0.

    Raises:
        InputError: the epochs are not in order; later, the model has no preprocessing that can be resized.
    """

    def __init__(self, sides: Sequence[tuple[int, int]]) -> None:
        epochs = [epoch for epoch, _ in sides]
        if not epochs or epochs[0] != 0 or epochs != sorted(set(epochs)) or min(side for _, side in sides) < 1:
            raise InputError(
                f"ProgressiveResizing needs positive sides and increasing epochs from 0 on, got {list(sides)}"
            )
        self.sides = list(sides)
        self.original: Preprocess  # from the start of training on

    def side(self, epoch: int) -> int:
        """The side in pixels in an epoch."""
        return next(side for first, side in reversed(self.sides) if epoch >= first)

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Store the preprocessing of the config."""
        self.original = resizable_preprocess(module, "ProgressiveResizing")

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Choose the size of the epoch."""
        trained_model(module).preprocess = self.original.resize_to(self.side(trainer.current_epoch))

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Restore the size of the config, for validation and for the end of the run."""
        trained_model(module).preprocess = self.original
