"""The contract of image heads, which make one prediction for the whole image."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.boxes import box_area
from detkit.errors import InputError
from detkit.heads.assignment import NO_OBJECT, NOT_LEARNED
from detkit.heads.class_rows import ClassRows
from detkit.heads.context import Candidates, Context
from detkit.heads.scored_boxes import PaddedAnswer, Sizes
from detkit.structures import Classification, Detections, Target
from detkit.structures.device_transfer import to_device
from detkit.structures.objects import objects_of

UNLABELED = -100  # the class of an image without a label, which torch's cross-entropy ignores


class ImageHead(nn.Module):
    """A head that makes one prediction for each image, with its own targets, losses and decoding.

    Attributes:
        learns_from: the field or fields of `Target` that it learns from in addition to boxes and labels.
        asks_for: the field or fields of `Target` that it needs with each image also at inference.
    """

    learns_from: str | Collection[str] = frozenset()
    asks_for: str | Collection[str] = frozenset()

    def class_rows(self) -> Mapping[str, ClassRows] | None:
        """The layers whose outputs belong to classes, by their name in this module; none if all serve every class.

        A model for other classes keeps the other outputs, and those of classes of the same name. None where it is not
        known: then parameters of the same shape are taken whole.
        """
        return None

    def forward(self, features: Any, context: Context) -> Any:
        """Raw outputs for the output of the backbone, before thresholds."""
        raise NotImplementedError

    def losses(self, raw: Any, context: Context) -> dict[str, Tensor]:
        """Named scalar losses of `raw`; the same names at every step.

        Args:
            raw: the output of `forward`.
            context: with targets in the network's frame; one without ``image_label`` does not contribute.
        """
        raise NotImplementedError

    def decode(self, raw: Any, context: Context) -> Sequence[Classification] | Sequence[Detections]:
        """The result for each image, in pixels of the image as given."""
        raise NotImplementedError

    def decode_padded(self, raw: Any, context: Context) -> PaddedAnswer:
        """The result of the batch in the network's frame, as tensors of fixed size; see `DenseHead.decode_padded`."""
        raise NotImplementedError

    def candidates(self, raw: Any, context: Context) -> Candidates:
        """One candidate for each image; differentiable."""
        raise NotImplementedError

    @torch.no_grad()
    def assign(self, raw: Any, context: Context) -> Tensor:
        """The object that each image is to predict ``(B,)``: the largest of its class; see `DenseHead.assign`."""
        return largest_objects(context.truth, context.batch.images.device)[1]

    def ideal(self, raw: Any, context: Context) -> Any:
        """What a perfect network would give in place of `raw`; optional, see `DenseHead.ideal`."""
        raise NotImplementedError


def image_labels(targets: Sequence[Target], num_classes: int, device: torch.device) -> Tensor:
    """The image labels ``(B,)`` int64, `UNLABELED` where an image has none.

    Raises:
        InputError: an image has a label that the model does not have; the message names the image.
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
    """The largest box of each image's class ``(B, 4)``, crowds left out, and its row among the objects of the batch.

    The row ``(B,)`` is -1 where there is no such box, -2 where the image has no label or no annotated boxes.
    """
    objects = objects_of(targets, device)
    # An extra row for images without such a box.
    boxes = torch.cat((objects.boxes, objects.boxes.new_zeros(1, 4)))
    none, images = len(objects.labels), objects.image_index
    labels = [UNLABELED if target.image_label is None else target.image_label for target in targets]
    is_eligible = objects.labels == to_device(torch.tensor(labels), device)[images]
    areas = torch.where(is_eligible, box_area(objects.boxes), -1)
    largest = areas.new_full((len(targets),), -1).scatter_reduce_(0, images, areas, "amax")
    order = torch.where(is_eligible & (areas == largest[images]), torch.arange(none, device=device), none)
    rows = order.new_full((len(targets),), none).scatter_reduce_(0, images, order, "amin")
    learned = [label != UNLABELED and known for label, known in zip(labels, objects.annotated, strict=True)]
    others = torch.where(to_device(torch.tensor(learned), device), NO_OBJECT, NOT_LEARNED)
    return boxes[rows], torch.where(rows < none, rows, others)


def windows(sizes: Sizes, device: torch.device) -> Tensor:
    """Boxes ``(B, 4)`` that cover images of `sizes` (height, width)."""
    if isinstance(sizes, Tensor):
        return F.pad(sizes.flip(1).float(), (2, 0))
    rows = [(0.0, 0.0, float(width), float(height)) for height, width in sizes]
    return torch.tensor(rows).to(device, non_blocking=True)
