"""Training at changing resolutions."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from detkit.errors import InputError
from detkit.models import VisionModel
from detkit.preprocess import Preprocess


class MultiScale(Callback):
    """Gives the network's input another size every few batches (YOLOv2, section 2, "multi-scale training").

    The size is a pure function of the seed and of the number of batches so far: all processes agree on it, and a
    resumed run continues with it. `Preprocess.resize_to` of the model defines what a side means: squares of that side,
    or images whose shorter side has it. Validation, and the model that is saved, have the size of the config. In a
    config:
    ``trainer: {callbacks: [{class_path: detkit.engine.callbacks.multi_scale.MultiScale}]}``.

    Args:
        smallest: side of the smallest input in pixels.
        largest: side of the largest one.
        step: difference between sides in pixels; a multiple of the coarsest stride.
        every: number of successive batches of one size.
        seed: of the random sizes.

    Raises:
        InputError: the sizes are not in order; later, the model has no preprocessing that can be resized.
    """

    def __init__(self, smallest: int = 320, largest: int = 608, step: int = 32, every: int = 10, seed: int = 0) -> None:
        if not 0 < smallest <= largest or step < 1 or every < 1:
            raise InputError(
                f"MultiScale needs 0 < smallest <= largest and positive step and every, got {smallest}, {largest}, "
                f"{step} and {every}"
            )
        self.sides = range(smallest, largest + 1, step)
        self.every = every
        self.seed = seed
        self.original: Preprocess  # from the start of training on

    def side(self, batch: int) -> int:
        """The side in pixels of the network's input for the batch of this number."""
        return self.sides[np.random.default_rng([self.seed, batch // self.every]).integers(len(self.sides))]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Store the preprocessing of the config."""
        self.original = resizable_preprocess(module, "MultiScale")

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Choose the size of this batch."""
        trained_model(module).preprocess = self.original.resize_to(
            self.side(trainer.fit_loop.epoch_loop.total_batch_idx)
        )

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Restore the size of the config, for validation and for the end of the run."""
        trained_model(module).preprocess = self.original


def resizable_preprocess(module: LightningModule, callback: str) -> Preprocess:
    """The preprocessing of the model in training.

    Raises:
        InputError: it has none that can be resized; `callback` begins the message.
    """
    preprocess: Preprocess | None = getattr(module.model, "preprocess", None)
    if preprocess is None or not hasattr(preprocess, "resize_to"):
        raise InputError(
            f"{callback} resizes the network's input, but {type(module.model).__name__} has no detkit.preprocess"
        )
    return preprocess


def trained_model(module: LightningModule) -> VisionModel:
    """The model that a `DetectionModule` trains."""
    return cast(VisionModel, module.model)
