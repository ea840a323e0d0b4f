"""The batch of a training step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor

from detkit.structures import Target


@dataclass(frozen=True, eq=False)
class TrainingBatch:
    """The images of one training step.

    Args:
        images: uint8 RGB ``(3, H, W)`` each, of any sizes, on the device.
        targets: ground truth of each image, in its pixels, on the CPU; None for a source without labels.
        sources: batches of further data sources (``data.sources``), by name.
        progress: completed share of the run, from 0 to 1; 0 if its length is not known.
        own_ids: image ids; None for those of `targets`.
    """

    images: list[Tensor]
    targets: list[Target] | None
    sources: Mapping[str, TrainingBatch] = field(default_factory=dict)
    progress: float = 0.0
    own_ids: list[Any] | None = None

    @classmethod
    def of(cls, batch: Sequence[Any], progress: float = 0.0) -> TrainingBatch:
        """Make it from a batch of the loader.

        Args:
            batch: ``(images, targets)``, or ``(images, targets, {name of a source: (images, targets[, image ids])})``.
            progress: see the class.
        """
        images, targets, *further = batch
        sources = further[0] if further else {}
        parts = {
            name: cls(of_source, its_targets, progress=progress, own_ids=ids[0] if ids else None)
            for name, (of_source, its_targets, *ids) in sources.items()
        }
        return cls(images, targets, parts, progress)

    @property
    def image_ids(self) -> list[Any]:
        """The ids of all images that have one, those of the sources last."""
        own = [target.image_id for target in self.targets or ()] if self.own_ids is None else list(self.own_ids)
        return own + [image_id for source in self.sources.values() for image_id in source.image_ids]
