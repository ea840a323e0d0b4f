"""Training at changing resolutions."""

from __future__ import annotations

from typing import Any

import numpy as np
from lightning.pytorch import Callback, LightningModule, Trainer

from detkit.errors import InputError
from detkit.preprocess import Preprocess


class MultiScale(Callback):
    """Gives the network's input another size every few batches (YOLOv2, section 2, "multi-scale training").

    The size is a pure function of the seed and of how many batches there have been: all processes agree on it, and a
    run that is resumed goes on with it. What a side means is said by the model's preprocessing, `Preprocess.resize_to`:
    squares of that side, or images whose shorter side has it. Validation, and the model that is saved, have the size of
    the config. In a config: ``trainer: {callbacks: [{class_path: detkit.engine.callbacks.multi_scale.MultiScale}]}``.

    Args:
        smallest: side of the smallest input in pixels.
        largest: side of the largest one.
        step: sides are the smallest and so many pixels more each; a multiple of the coarsest stride.
        every: batches of one size.
        seed: of the sizes.

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
        self.given: Preprocess | None = None

    def side(self, batch: int) -> int:
        """The side in pixels of the network's input for the batch of this number."""
        return self.sides[np.random.default_rng([self.seed, batch // self.every]).integers(len(self.sides))]

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        """Remember the preprocessing of the config."""
        self.given = given_preprocess(module, "MultiScale")

    def on_train_batch_start(self, trainer: Trainer, module: LightningModule, batch: Any, batch_idx: int) -> None:
        """Choose the size of this batch."""
        module.model.preprocess = self.given.resize_to(self.side(trainer.fit_loop.epoch_loop.total_batch_idx))

    def on_train_batch_end(
        self, trainer: Trainer, module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Back to the size of the config, for whatever follows: a validation, the end."""
        module.model.preprocess = self.given


def given_preprocess(module: LightningModule, callback: str) -> Preprocess:
    """The preprocessing of the model in training.

    Raises:
        InputError: it has none that can be resized; `callback` begins the message.
    """
    preprocess = getattr(module.model, "preprocess", None)
    if not hasattr(preprocess, "resize_to"):
        raise InputError(
            f"{callback} resizes the network's input, but {type(module.model).__name__} has no detkit.preprocess"
        )
    return preprocess
