"""What a head may know beside the maps, and what it lets others know."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Size
from detkit.heads.activations import Activation, sigmoid_scores
from detkit.heads.truth import Objects, objects_of
from detkit.preprocess import Batch
from detkit.structures import Target
from detkit.structures.kind import to_device


@dataclass(frozen=True, eq=False)
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

    @cached_property
    def truth(self) -> Sequence[Target]:
        """The targets, where losses need them.

        Raises:
            InputError: there are none.
        """
        if self.targets is None:
            raise InputError("losses need a Context with targets, and this one has none")
        return self.targets

    @cached_property
    def objects(self) -> Objects:
        """The objects of all images in turn, which `Regions.matched` and the rows of `assign` number."""
        return objects_of(self.truth, self.batch.images.device)


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of the images of a batch, of all images in turn.

    Args:
        boxes: ``(R, 4)`` in the network's frame.
        image_index: ``(R,)`` int64, the image of each, ascending.
        labels: ``(R,)`` int64, of a sampled region the class of its object, -1 for background; of what was detected
            its class; None where nothing is known.
        matched: ``(R,)`` int64 of a sampled region the row of its object among all objects of the batch, those of each
            image, `Target.objects`, in turn; meaningless for background.
        counts: how many of each image; None where nobody has asked the device yet.
    """

    boxes: Tensor
    image_index: Tensor
    labels: Tensor | None = None
    matched: Tensor | None = None
    counts: Sequence[int] | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor | slice) -> Regions:
        """The regions that a bool mask ``(R,)``, an ascending int64 index or a slice selects."""
        values = self.boxes, self.image_index, self.labels, self.matched
        return Regions(*(None if value is None else value[rows] for value in values))  # type: ignore[arg-type]

    @classmethod
    def of_images(
        cls,
        boxes: Sequence[Tensor | None],
        labels: Sequence[Tensor] | None = None,
        device: torch.device | str | None = None,
    ) -> Regions:
        """The regions of each image.

        Args:
            boxes: ``(Ri, 4)`` of each image in turn; None where it has none.
            labels: ``(Ri,)`` of each, if they are known.
            device: where the regions go; None: where the first boxes are.
        """
        present = [of_image for of_image in boxes if of_image is not None]
        counts = [0 if of_image is None else len(of_image) for of_image in boxes]
        images = torch.arange(len(boxes)).repeat_interleave(torch.tensor(counts, dtype=torch.int64))
        values = [torch.cat(present) if present else torch.zeros(0, 4), images]
        if labels is not None:
            values.append(torch.cat(list(labels)) if labels else images[:0])
        if device is None:
            device = values[0].device
        return cls(*(to_device(value, device) for value in values), counts=counts)

    def clipped(self, sizes: Sequence[Size]) -> Regions:
        """The regions cut at the edges of their images, whose (height, width) in the network's frame `sizes` are."""
        limits = self.boxes.new_tensor([(width, height, width, height) for height, width in sizes])
        return replace(self, boxes=self.boxes.clamp(min=0).minimum(limits[self.image_index]))

    def sampled(self) -> tuple[Tensor, Tensor]:
        """`labels` and `matched`, where losses need them.

        Raises:
            InputError: nobody knows what these regions stand for.
        """
        if self.labels is None or self.matched is None:
            raise InputError("losses need sampled Regions, with labels and matched; these have none")
        return self.labels, self.matched

    def foreground(self) -> Regions:
        """Those of sampled regions that stand for an object."""
        labels, _ = self.sampled()
        return self[torch.where(labels >= 0)[0]]

    def slices(self, images: int) -> list[slice]:
        """Where the regions of each of `images` images stand; where `counts` are not known this waits for the device,
        once."""
        counts = self.counts
        if counts is None or len(counts) != images:
            counts = torch.bincount(self.image_index, minlength=images).tolist()
            object.__setattr__(self, "counts", counts)
        return [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]


@dataclass(frozen=True, eq=False)
class Candidates:
    """All that a head might answer, before suppression; differentiable.

    Args:
        boxes: ``(N, 4)`` in the network's frame.
        logits: ``(N, K)`` of the classes.
        objectness: ``(N,)`` logits of being an object at all; None where the head does not ask.
        image_index: ``(N,)`` int64, the image of each, ascending.
        activation: makes scores of logits and objectness.
    """

    boxes: Tensor
    logits: Tensor
    objectness: Tensor | None
    image_index: Tensor
    activation: Activation = sigmoid_scores

    def scores(self) -> Tensor:
        """How sure the head is of each class ``(N, K)``, in [0, 1]; differentiable."""
        return self.activation(self.logits, self.objectness)
