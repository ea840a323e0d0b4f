"""What every head that answers for the whole image promises."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from detkit.errors import InputError
from detkit.heads.context import Candidates, Context
from detkit.heads.truth import NO_OBJECT, NOT_LEARNED, annotated, crowds
from detkit.structures import Classification, Detections, Target

UNLABELED = -100  # in place of the class of an image that has none: what torch's cross-entropy leaves out


class ImageHead(nn.Module):
    """A head with one answer for each image, with a loss of its own.

    Attributes:
        learns_from: the field of `Target` that it learns from beside boxes and labels, or several.
        asks_for: the field of `Target` that must be given with an image also at inference, or several.
    """

    learns_from: str | Collection[str] = frozenset()
    asks_for: str | Collection[str] = frozenset()

    def forward(self, features: Any, context: Context) -> Any:
        """Raw outputs on what the trunk says; no thresholds."""
        raise NotImplementedError

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step.

        Args:
            raw: what `forward` says.
            context: with targets in the network's frame; one without ``image_label`` teaches nothing.
        """
        raise NotImplementedError

    def decode(self, raw: Any, context: Context) -> Sequence[Classification] | Sequence[Detections]:
        """The answer for each image, in pixels of the image as given."""
        raise NotImplementedError

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """One for each image; differentiable. Each head says what its logits mean."""
        raise NotImplementedError

    @torch.no_grad()
    def assign(self, raw: Any, context: Context) -> Tensor:
        """Which object each image is to find ``(B,)``: the largest of its class, see `DenseHead.assign`."""
        return largest_objects(context.truth, context.batch.images.device)[1]


def image_labels(targets: Sequence[Target], num_classes: int, device: torch.device) -> Tensor:
    """The classes ``(B,)`` int64 of images as a whole, `UNLABELED` where an image has none.

    Raises:
        InputError: an image has a class that the model does not have; the message names it.
    """
    labels = [UNLABELED if target.image_label is None else target.image_label for target in targets]
    for index, label in enumerate(labels):
        if label != UNLABELED and not 0 <= label < num_classes:
            raise InputError(
                f"targets[{index}], image id {targets[index].image_id!r}: image_label is {label}, not a class in "
                f"0..{num_classes - 1}"
            )
    return torch.tensor(labels, dtype=torch.int64).to(device, non_blocking=True)


def largest_objects(targets: Sequence[Target], device: torch.device) -> tuple[Tensor, Tensor]:
    """The largest box of each image's class, crowds left out ``(B, 4)``, and its row among the objects of the batch
    ``(B,)``: -1 where there is none, -2 where the image has no class or no annotated boxes."""
    boxes, rows, before = [], [], torch.zeros((), dtype=torch.int64, device=device)
    for target, given in zip(annotated(targets, device), targets, strict=True):
        learned = given.boxes is not None and target.image_label is not None
        objects = ~crowds(target)
        if len(target) == 0 or not learned:
            boxes.append(torch.zeros(4, device=device))
            rows.append(torch.full_like(before, NO_OBJECT if learned else NOT_LEARNED))
        else:
            counts = (target.labels == target.image_label) & objects
            areas = (target.boxes[:, 2:] - target.boxes[:, :2]).prod(dim=1).where(counts, -1.0)
            # Selected on the device: an index that the CPU had to know would make it wait.
            largest = areas.argmax(dim=0, keepdim=True)
            boxes.append(target.boxes.index_select(0, largest)[0])
            row = before + objects.cumsum(dim=0).index_select(0, largest)[0] - 1
            rows.append(torch.where(counts.any(), row, NO_OBJECT))
        before = before + objects.sum()
    return torch.stack(boxes), torch.stack(rows)


def windows(sizes: Sequence[tuple[int, int]], device: torch.device) -> Tensor:
    """Images of `sizes` (height, width) as boxes ``(B, 4)``."""
    rows = [(0.0, 0.0, float(width), float(height)) for height, width in sizes]
    return torch.tensor(rows).to(device, non_blocking=True)
