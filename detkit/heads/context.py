"""What a head may know beside the maps, and what it lets others know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.preprocess import Batch
from detkit.structures import Target


@dataclass(frozen=True)
class Context:
    """One batch on its way through a model.

    Args:
        batch: the images as the network sees them, and how they lie in it.
        targets: ground truth of each image in the network's frame; None outside of training.
        given: what the model asks for of each image also at inference, in the network's frame.
        generator: the source of all random sampling; None: torch's own.
    """

    batch: Batch
    targets: Sequence[Target] | None = None
    given: Sequence[Target] | None = None
    generator: torch.Generator | None = None


@dataclass(frozen=True)
class Regions:
    """Regions of the images of a batch, of all images in turn.

    Args:
        boxes: ``(R, 4)`` in the network's frame.
        image_index: ``(R,)`` int64, the image of each, ascending.
        labels: ``(R,)`` int64 of a sampled region the class of its object, -1 for background.
        matched: ``(R,)`` int64 of a sampled region the row of its object among all objects of the batch, those of each
            image, `Target.objects`, in turn; meaningless for background.
    """

    boxes: Tensor
    image_index: Tensor
    labels: Tensor | None = None
    matched: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)


@dataclass(frozen=True)
class Candidates:
    """All that a head might answer, before suppression; differentiable.

    Args:
        boxes: ``(N, 4)`` in the network's frame.
        logits: ``(N, K)`` of the classes.
        objectness: ``(N,)`` logits of being an object at all; None where the head does not ask.
        image_index: ``(N,)`` int64, the image of each, ascending.
    """

    boxes: Tensor
    logits: Tensor
    objectness: Tensor | None
    image_index: Tensor
