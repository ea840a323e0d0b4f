"""The data that heads exchange: `Context` of a batch, `Regions` of its images, `Candidates` for detections."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import accumulate

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads.activations import Activation, sigmoid_scores
from detkit.heads.scored_boxes import PaddedBoxes, Sizes, clip_to_images
from detkit.preprocess import Batch
from detkit.structures import Target
from detkit.structures.device_transfer import to_device
from detkit.structures.objects import Objects, objects_of


@dataclass(frozen=True, eq=False)
class Context:
    """A batch with its targets, as heads get it.

    Args:
        batch: the preprocessed images and their placements.
        targets: ground truth of each image in the network's frame; None outside of training.
        given: the fields that the model `asks_for` of each image, also at inference, in the network's frame.
        generator: the source of all random sampling; None is torch's default.
        proposals: ``(B, P, 4)``, in an exported graph the proposals of each image in place of `given`; those that fill
            up a row are zeros.
    """

    batch: Batch
    targets: Sequence[Target] | None = None
    given: Sequence[Target] | None = None
    generator: torch.Generator | None = None
    proposals: Tensor | None = None

    @cached_property
    def truth(self) -> Sequence[Target]:
        """The targets, which losses need.

        Raises:
            InputError: there are none.
        """
        if self.targets is None:
            raise InputError("losses need a Context with targets, but this one has none: pass Context(batch, targets)")
        return self.targets

    @cached_property
    def objects(self) -> Objects:
        """The objects of all images; `Regions.matched` and `assign` give rows of these.

        Raises:
            InputError: a target has boxes without labels.
        """
        return objects_of(self.truth, self.batch.images.device)


@dataclass(frozen=True, eq=False)
class Regions:
    """Regions of the images of a batch, ordered by image.

    Args:
        boxes: ``(R, 4)`` in the network's frame.
        image_index: ``(R,)`` int64, the image of each, ascending.
        labels: ``(R,)`` int64: the class of a sampled region's object, -1 for background; the class of a detection;
            None if unknown.
        matched: ``(R,)`` int64, the row of a sampled region's object in `Context.objects`; meaningless for background.
        counts: the number of regions of each image; None until `slices` has read it from the device.
        foreground_counts: how many of a sample's regions in each image are foreground, which is first in each; None if
            the host does not know.
        is_present: ``(B, R / B)`` bool: in an exported graph, where each image has as many, which are regions and not
            mere filling; None outside of graphs.
    """

    boxes: Tensor
    image_index: Tensor
    labels: Tensor | None = None
    matched: Tensor | None = None
    counts: Sequence[int] | None = None
    foreground_counts: Sequence[int] | None = None
    is_present: Tensor | None = None

    def __len__(self) -> int:
        return len(self.boxes)

    def __getitem__(self, rows: Tensor | slice) -> Regions:
        """The regions that a bool mask ``(R,)``, an ascending int64 index or a slice selects."""
        labels = None if self.labels is None else self.labels[rows]
        matched = None if self.matched is None else self.matched[rows]
        assert self.is_present is None, "in a graph each image has as many regions: select none"
        return Regions(self.boxes[rows], self.image_index[rows], labels, matched)

    @classmethod
    def of_images(
        cls,
        boxes: Sequence[Tensor | None],
        labels: Sequence[Tensor] | None = None,
        device: torch.device | str | None = None,
    ) -> Regions:
        """The regions of a batch from those of each image.

        Args:
            boxes: ``(Ri, 4)`` of each image; None where it has none.
            labels: ``(Ri,)`` of each image, if they are known.
            device: where the regions go; None is the device of the first boxes.
        """
        present = [per_image for per_image in boxes if per_image is not None]
        counts = [0 if per_image is None else len(per_image) for per_image in boxes]
        images = torch.from_numpy(np.arange(len(boxes)).repeat(np.array(counts, np.int64)))
        together = torch.cat(present) if present else torch.zeros(0, 4)
        classes = None
        if labels is not None:
            classes = torch.cat(list(labels)) if labels else images[:0]
        if device is None:
            device = together.device
        return cls(
            to_device(together, device),
            to_device(images, device),
            None if classes is None else to_device(classes, device),
            counts=counts,
        )

    @classmethod
    def of_padded(cls, padded: PaddedBoxes) -> Regions:
        """The regions of an exported graph, as many of each image; those that fill up a row have no size."""
        is_present = torch.arange(padded.scores.shape[1], device=padded.boxes.device) < padded.counts[:, None]
        boxes = padded.boxes.masked_fill(~is_present[..., None], 0.0)
        return replace(cls.of_rows_of_images(boxes, is_present), labels=padded.labels.flatten())

    @classmethod
    def of_rows_of_images(cls, boxes: Tensor, is_present: Tensor) -> Regions:
        """The regions of an exported graph from `boxes` ``(B, N, 4)``, those where `is_present` ``(B, N)``."""
        images, longest = is_present.shape
        image_index = torch.arange(images, device=boxes.device)[:, None].expand(-1, longest)
        return cls(boxes.flatten(0, 1), image_index.flatten(), is_present=is_present)

    def rows_of_images(self, values: Tensor, filling: float = 0.0) -> Tensor:
        """`values` ``(R, ...)`` of the regions of a graph as ``(B, R / B, ...)``, with `filling` where none is."""
        assert self.is_present is not None, "outside of a graph images differ in their numbers of regions"
        rows = torch.unflatten(values, 0, tuple(self.is_present.shape))
        return rows.masked_fill(~self.is_present[(..., *[None] * (values.ndim - 1))], filling)

    def clipped(self, sizes: Sizes) -> Regions:
        """The regions clipped to their images, whose (height, width) in the network's frame are `sizes`."""
        return replace(self, boxes=clip_to_images(self.boxes, self.image_index, sizes))

    def sampled(self) -> tuple[Tensor, Tensor]:
        """`labels` and `matched`, which losses need.

        Raises:
            InputError: these regions are not sampled.
        """
        if self.labels is None or self.matched is None:
            raise InputError("losses need Regions with labels and matched, but these have none: use a RegionSampler")
        return self.labels, self.matched

    @cached_property
    def foreground_rows(self) -> Tensor:
        """The rows of the sampled regions that are matched with an object, int64 ``(F,)``."""
        labels, _ = self.sampled()
        if self.counts is None or self.foreground_counts is None:
            return torch.where(labels >= 0)[0]
        ends = zip(accumulate(self.counts), self.counts, self.foreground_counts, strict=True)
        rows = [np.arange(end - count, end - count + foreground) for end, count, foreground in ends]
        return to_device(torch.from_numpy(np.concatenate(rows)), labels.device)

    def foreground(self) -> Regions:
        """The sampled regions that are matched with an object; the same ones at every call."""
        return self._foreground

    @cached_property
    def _foreground(self) -> Regions:
        return replace(self[self.foreground_rows], counts=self.foreground_counts)

    def slices(self, images: int) -> list[slice]:
        """The rows of each of the `images` images; waits for the device once if `counts` is not known."""
        counts = self.counts
        if counts is None or len(counts) != images:
            counted: list[int] = torch.bincount(self.image_index, minlength=images).tolist()
            counts = counted
            object.__setattr__(self, "counts", counts)
        return [slice(end - count, end) for count, end in zip(counts, accumulate(counts), strict=True)]


@dataclass(frozen=True, eq=False)
class Candidates:
    """All possible detections of a head, before thresholds and suppression; differentiable.

    Args:
        boxes: ``(N, 4)`` in the network's frame.
        logits: ``(N, K)`` of the classes.
        objectness: ``(N,)`` logits of being an object at all; None where the head does not predict it.
        image_index: ``(N,)`` int64, the image of each, ascending.
        activation: turns logits and objectness into scores.
    """

    boxes: Tensor
    logits: Tensor
    objectness: Tensor | None
    image_index: Tensor
    activation: Activation = sigmoid_scores

    def scores(self) -> Tensor:
        """The score of each class ``(N, K)`` in [0, 1]; differentiable."""
        return self.activation(self.logits, self.objectness)
