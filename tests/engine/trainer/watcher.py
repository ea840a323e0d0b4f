"""A callback of someone else's package that notes what a run does."""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback

SEEN: dict[str, list[Any]] = {}


class Watch(Callback):
    """Writes to `SEEN`: the images of each training batch, the steps of validations and the images in them."""

    def setup(self, trainer, module, stage):
        SEEN.clear()
        SEEN.update(trained=[], pixels=[], steps=[], validated=[], sane=[], images=[])

    def on_train_batch_start(self, trainer, module, batch, batch_idx):
        SEEN["trained"].append((trainer.current_epoch, [target.image_id for target in batch[1]]))
        SEEN["pixels"].append((trainer.current_epoch, [int(image.sum()) for image in batch[0]]))

    def on_train_batch_end(self, trainer, module, *args):
        SEEN["steps"].append(trainer.global_step)

    def on_validation_batch_start(self, trainer, module, batch, batch_idx, dataloader_idx=0):
        SEEN["sane" if trainer.sanity_checking else "images"] += [target.image_id for target in batch[1]]

    def on_validation_end(self, trainer, module):
        if not trainer.sanity_checking:
            SEEN["validated"].append(trainer.global_step)


def epochs(name: str) -> list[list[Any]]:
    """What was noted, by epoch."""
    last = SEEN[name][-1][0]
    return [[one for epoch, many in SEEN[name] if epoch == number for one in many] for number in range(last + 1)]
