"""Scored boxes of a batch: limit their number, clip them and find unusable ones.

R  boxes of a batch     B  images     N  the most boxes of an image
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.boxes import at_least, clip_boxes
from detkit.geometry import Size
from detkit.structures import Detections


class ScoredBoxes(NamedTuple):
    """Boxes of a batch with their scores.

    Args:
        boxes: ``(R, 4)`` in the network's frame.
        scores: ``(R,)`` in [0, 1].
        labels: ``(R,)`` int64; boxes of different labels do not suppress each other.
        image_index: ``(R,)`` int64, the image of each.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    image_index: Tensor

    def take(self, rows: Tensor | slice) -> ScoredBoxes:
        """The boxes at the indices `rows`."""
        return ScoredBoxes(*(part[rows] for part in self))


class PaddedBoxes(NamedTuple):
    """The boxes of each image, best first, in rows of one length.

    Args:
        boxes: ``(B, N, 4)`` in the network's frame.
        scores: ``(B, N)`` in [0, 1].
        labels: ``(B, N)`` int64.
        counts: ``(B,)`` int64, the boxes of each image; what follows them in a row means nothing.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    counts: Tensor

    @classmethod
    def of(cls, scored: ScoredBoxes, rows: Tensor, counts: Tensor) -> PaddedBoxes:
        """The boxes at `rows` ``(B, N)``, of which the first `counts` of each image are meant."""
        boxes, scores, labels, _ = scored
        if not len(scores):
            rows = rows[:, :0]
        rows = rows.clamp(min=0)
        return cls(boxes[rows], scores[rows], labels[rows], counts)

    def where(self, kept: Tensor) -> PaddedBoxes:
        """The boxes where `kept` ``(B, N)`` is true, in their order."""
        columns = torch.arange(kept.shape[1], device=kept.device)
        kept = kept & (columns < self.counts[:, None])
        order = (~kept).byte().argsort(dim=1, stable=True)
        boxes = self.boxes.gather(1, order[..., None].expand(-1, -1, 4))
        return PaddedBoxes(boxes, self.scores.gather(1, order), self.labels.gather(1, order), kept.sum(dim=1))

    def clipped(self, sizes: Sequence[Size], least_side: float) -> PaddedBoxes:
        """The boxes clipped to their images, without those that are then less than `least_side` wide or high."""
        images, longest = self.scores.shape
        index = torch.arange(images, device=self.boxes.device).repeat_interleave(longest)
        boxes = clip_to_images(self.boxes.flatten(0, 1), index, sizes).view(images, longest, 4)
        return self._replace(boxes=boxes).where(at_least(boxes, least_side))

    def detections(self) -> list[Detections]:
        """The boxes of each image; waits for the device once, since tensors of unknown size cannot be made."""
        counts: list[int] = self.counts.tolist()
        return [
            Detections(self.boxes[image, :count], self.scores[image, :count], self.labels[image, :count])
            for image, count in enumerate(counts)
        ]


def first_of_images(image_index: Tensor, limit: int | None, images: int) -> tuple[Tensor, Tensor]:
    """The first `limit` entries of each image: their rows ``(B, N)`` and how many there are ``(B,)``."""
    order = image_index.argsort(stable=True)
    counts = (image_index == torch.arange(images, device=image_index.device)[:, None]).sum(dim=1)
    starts = counts.cumsum(0) - counts
    longest = len(order) if limit is None else min(limit, len(order))
    columns = torch.arange(longest, device=order.device)
    rows = order[(starts[:, None] + columns).clamp(max=max(len(order) - 1, 0))]
    return rows, counts.clamp(max=longest)


def topk_per_group(scores: Tensor, groups: Tensor, k: int) -> Tensor:
    """Indices of the `k` greatest `scores` ``(R,)`` in each of the `groups` ``(R,)``, group by group."""
    order = scores.argsort(descending=True)
    order = order[groups[order].argsort(stable=True)]
    sorted_groups = groups[order]
    ranks = torch.arange(len(order), device=order.device) - torch.searchsorted(sorted_groups, sorted_groups)
    return order[ranks < k]


def topk_of_classes(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `k` greatest scores of each class of each image, but none of -inf, in the order of `topk_per_group`.

    Where many scores are candidates, this is faster than to sort them all.

    Args:
        scores: ``(B, P, K)``.
        k: at most so many.

    Returns:
        The image, the location, the class and the score of each.
    """
    values, locations = scores.transpose(1, 2).contiguous().topk(min(k, scores.shape[1]), dim=2)
    image, label, rank = torch.where(values > -torch.inf)
    return image, locations[image, label, rank], label, values[image, label, rank]


def topk_indices(
    scores: Tensor, labels: Tensor, image_index: Tensor, counts: Sequence[int] | None, k: int
) -> Tensor | slice:
    """Indices of the `k` greatest `scores` of each image, or of each of its classes if `counts` is None.

    Args:
        scores: ``(R,)``, ordered by image.
        labels: ``(R,)`` int64.
        image_index: ``(R,)`` int64, ascending.
        counts: how many of the R each image has.
        k: at most so many.
    """
    if len(scores) <= k or (counts is not None and max(counts) <= k):
        return slice(None)
    if counts is None:
        return topk_per_group(scores, image_index * (labels.max() + 1) + labels, k)
    rows = torch.arange(len(scores), device=scores.device)
    starts = [end - count for count, end in zip(counts, accumulate(counts), strict=True)]
    offsets = torch.tensor(starts).to(scores.device, non_blocking=True)
    padded = scores.new_full((len(counts), max(counts)), -torch.inf)
    padded[image_index, rows - offsets[image_index]] = scores
    best = padded.topk(k, dim=1).indices + offsets[:, None]
    spans = enumerate(zip(starts, counts, strict=True))
    # An image that has no more than k keeps their order.
    return torch.cat([best[image] if count > k else rows[start : start + count] for image, (start, count) in spans])


def finite_boxes(boxes: Tensor) -> Tensor:
    """Which of `boxes` ``(R, 4)`` have four finite coordinates, bool ``(R,)``."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return (x1 + y1 + x2 + y2).isfinite()


def class_groups(scored: ScoredBoxes, images: int) -> Tensor:
    """A different number ``(R,)`` for each class of each image."""
    return scored.labels * images + scored.image_index


def counts_per_image(image_index: Tensor, images: int) -> list[int]:
    """How many entries of `image_index` each of the `images` has; waits for the device."""
    counts: list[int] = torch.bincount(image_index, minlength=images).tolist()
    return counts


def clip_to_images(boxes: Tensor, image_index: Tensor, sizes: Sequence[Size]) -> Tensor:
    """`boxes` ``(R, 4)`` clipped to their images, whose (height, width) are `sizes`."""
    if len(set(sizes)) == 1:
        return clip_boxes(boxes, sizes[0])
    limits = torch.tensor([(width, height, width, height) for height, width in sizes], dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(limits.to(boxes.device, non_blocking=True)[image_index])
