"""Scored boxes of a batch: limit their number, clip them and find unusable ones.

R  boxes of a batch     B  images     N  the most boxes of an image
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.boxes import at_least, clip_boxes
from detkit.geometry import Size
from detkit.ops import is_exporting
from detkit.structures import Detections
from detkit.structures.device_transfer import to_device

Sizes = Sequence[Size] | Tensor
"""(height, width) of each image: pairs, or in an exported graph, which does not know them, int64 ``(B, 2)``."""


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


class PaddedAnswer(Protocol):
    """The answers of a batch as tensors of fixed size."""

    def outputs(self) -> dict[str, Tensor]:
        """The tensors by the names of an exported graph."""


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
        if scores.shape[0] == 0:
            rows = rows[:, :0]
        rows = rows.clamp(min=0)
        return cls(boxes[rows], scores[rows], labels[rows], counts)

    def where(self, kept: Tensor) -> PaddedBoxes:
        """The boxes where `kept` ``(B, N)`` is true, in their order."""
        columns = torch.arange(kept.shape[1], device=kept.device)
        kept = kept & (columns < self.counts[:, None])
        order = torch.where(kept, columns, columns + kept.shape[1]).argsort(dim=1)
        boxes = self.boxes.gather(1, order[..., None].expand(-1, -1, 4))
        return PaddedBoxes(boxes, self.scores.gather(1, order), self.labels.gather(1, order), kept.sum(dim=1))

    def clipped(self, sizes: Sizes, least_side: float) -> PaddedBoxes:
        """The boxes clipped to their images, without those that are then less than `least_side` wide or high."""
        images, longest = self.scores.shape
        index = torch.arange(images, device=self.boxes.device).repeat_interleave(longest)
        boxes = clip_to_images(self.boxes.flatten(0, 1), index, sizes).view(images, longest, 4)
        return self._replace(boxes=boxes).where(at_least(boxes, least_side))

    def outputs(self) -> dict[str, Tensor]:
        """The tensors by the names of an exported graph: what follows the boxes of an image is 0, its label -1."""
        is_box = torch.arange(self.scores.shape[1], device=self.scores.device) < self.counts[:, None]
        return {
            "boxes": torch.where(is_box[..., None], self.boxes, 0.0),
            "scores": torch.where(is_box, self.scores, 0.0),
            "labels": torch.where(is_box, self.labels, -1),
            "count": self.counts,
        }

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


def topk_of_rows(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """The `k` greatest `values` ``(..., M)`` of each row and their indices, both ``(..., k)``.

    A shorter row has no more than M. In an exported graph, which may not know M, -inf fills up what is missing.
    """
    length = values.shape[-1]
    if not is_exporting():
        best, indices = values.topk(min(k, length), dim=-1)
        return best, indices
    if not (isinstance(length, int) and length >= k):
        values = F.pad(values, (0, k), value=-math.inf)
    best, indices = values.topk(k, dim=-1)
    return best, indices.clamp(max=length - 1)


def topk_per_group(scores: Tensor, groups: Tensor, k: int) -> Tensor:
    """Indices of the `k` greatest `scores` ``(R,)`` in each of the `groups` ``(R,)``, group by group."""
    order = scores.argsort(descending=True)
    order = order[groups[order].argsort(stable=True)]
    sorted_groups = groups[order]
    ranks = torch.arange(len(order), device=order.device) - torch.searchsorted(sorted_groups, sorted_groups)
    return order[ranks < k]


def topk_boxes(scored: ScoredBoxes, images: int, k: int, of_class: bool) -> ScoredBoxes:
    """The `k` best boxes of each image, or of each of its classes, of `scored` boxes ordered by image."""
    if len(scored.scores) <= k:
        return scored
    if of_class:
        return scored.take(topk_per_group(scored.scores, class_groups(scored, images), k))
    rows = torch.arange(len(scored.scores), device=scored.scores.device)
    return scored.take(topk_of_images(rows, scored.scores, counts_per_image(scored.image_index, images), k)[0])


def topk_of_images(entries: Tensor, scores: Tensor, counts: Sequence[int], k: int) -> tuple[Tensor, Tensor]:
    """The `k` entries of each image with the greatest scores, and these scores; both ordered by image.

    Args:
        entries: ``(R,)`` int64, ordered by image.
        scores: ``(R,)``.
        counts: how many of the R each image has.
        k: at most so many.
    """
    longest = max(counts)
    if longest <= k:
        return entries, scores
    if min(counts) == longest:
        rows = scores.view(len(counts), longest).topk(k, dim=1).indices
        chosen = rows + torch.arange(len(counts), device=rows.device)[:, None] * longest
    else:
        chosen = _topk_of_ragged(scores, np.array(counts), k)
    chosen = chosen.flatten()
    return entries.index_select(0, chosen), scores.index_select(0, chosen)


def _topk_of_ragged(scores: Tensor, counts: np.ndarray, k: int) -> Tensor:
    """The indices ``(R',)`` of the `k` greatest scores of each image; one that has no more keeps their order."""
    images = np.stack((counts, counts.cumsum() - counts, counts > k))
    sizes, starts, has_more = to_device(torch.from_numpy(images), scores.device)[..., None]
    least, longest = counts.min(), counts.max()
    columns = torch.arange(longest, device=scores.device)
    padded = scores.index_select(0, (starts + columns).clamp_(max=len(scores) - 1).flatten()).view(len(counts), -1)
    padded[:, least:].masked_fill_(columns[least:] >= sizes, -torch.inf)
    ranks = torch.arange(k, device=scores.device)
    chosen = torch.where(has_more > 0, padded.topk(k, dim=1).indices, ranks) + starts
    places = np.flatnonzero(np.arange(k) < counts[:, None])
    kept: Tensor = chosen.flatten().index_select(0, to_device(torch.from_numpy(places), scores.device))
    return kept


def topk_of_classes(scores: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `k` greatest scores ``(B, P, K)`` of each class of each image, but not those of -inf.

    Returns:
        The image, the location, the label and the score of each ``(R,)``, ordered by image.
    """
    best, locations = scores.transpose(1, 2).contiguous().topk(min(k, scores.shape[1]), dim=2)
    image, label, rank = torch.where(best > -torch.inf)
    return image, locations[image, label, rank], label, best[image, label, rank]


def topk_of_images_padded(scores: Tensor, k: int | None, of_class: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The `k` greatest scores ``(B, P, K)`` of each image, or of each of its classes, as many of each image.

    Args:
        scores: those that do not count are -inf.
        k: at most so many; None is all.
        of_class: count those of each class.

    Returns:
        The image, the location, the label and the score of each ``(R,)``, ordered by image; a score of -inf is none.
    """
    images, locations, classes = scores.shape
    labels = torch.arange(classes, device=scores.device)
    if k is None:
        best = scores.flatten(1)
        location = torch.arange(locations, device=scores.device)[:, None].expand(images, -1, classes).flatten(1)
        label = labels.expand(images, locations, -1).flatten(1)
    elif of_class:
        by_class, location = topk_of_rows(scores.transpose(1, 2), k)
        best, location = by_class.flatten(1), location.flatten(1)
        label = labels[:, None].expand(images, -1, k).flatten(1)
    else:
        # The k best scores are of the k locations whose best score is best.
        of_location, looked_at = topk_of_rows(scores.amax(dim=2), k)
        looked_at_scores = scores.gather(1, looked_at[..., None].expand(-1, -1, classes))
        looked_at_scores = looked_at_scores.masked_fill((of_location == -math.inf)[..., None], -math.inf)
        best, entry = topk_of_rows(looked_at_scores.flatten(1), k)
        label = entry % classes
        location = looked_at.gather(1, entry // classes)
    image = torch.arange(images, device=scores.device)[:, None].expand(-1, best.shape[1])
    return image.flatten(), location.flatten(), label.flatten(), best.flatten()


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


def count_of(sizes: Sizes) -> int:
    """The number of images of `sizes`; in an exported graph it is no constant, which `len` would make it."""
    return sizes.shape[0] if isinstance(sizes, Tensor) else len(sizes)


def clip_to_images(boxes: Tensor, image_index: Tensor, sizes: Sizes) -> Tensor:
    """`boxes` ``(R, 4)`` clipped to their images, whose (height, width) are `sizes`."""
    if isinstance(sizes, Tensor):
        return boxes.clamp(min=0).minimum(sizes.flip(1).repeat(1, 2).to(boxes.dtype)[image_index])
    if len(set(sizes)) == 1:
        return clip_boxes(boxes, sizes[0])
    limits = torch.tensor([(width, height, width, height) for height, width in sizes], dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(limits.to(boxes.device, non_blocking=True)[image_index])
