"""What a training step has to learn from."""

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
        targets: ground truth of each image, in its pixels, on the CPU; None of a source without labels.
        sources: the batches of the further data sources (``data.sources``) by name.
        progress: how much of the run is over, from 0 to 1; 0 where its end is not known.
    """

    images: list[Tensor]
    targets: list[Target] | None
    sources: Mapping[str, TrainingBatch] = field(default_factory=dict)
    progress: float = 0.0

    @classmethod
    def of(cls, batch: Sequence[Any], progress: float = 0.0) -> TrainingBatch:
        """From the loader's ``(images, targets)`` or ``(images, targets, {name of a source: (images, targets)})``."""
        images, targets, *further = batch
        sources = further[0] if further else {}
        return cls(
            images, targets, {name: cls(*source, progress=progress) for name, source in sources.items()}, progress
        )

    @property
    def image_ids(self) -> list[Any]:
        """The ids of all images that have one, those of the sources at the end."""
        own = [target.image_id for target in self.targets or ()]
        return own + [image_id for source in self.sources.values() for image_id in source.image_ids]
