"""Scored boxes of a batch: limit their number, clip them and find unusable ones.

R  boxes of a batch     B  images
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.boxes import clip_boxes
from detkit.geometry import Size


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

    def take(self, rows: Tensor) -> ScoredBoxes:
        """The boxes at the indices `rows`."""
        return ScoredBoxes(*(part[rows] for part in self))


def topk_per_group(scores: Tensor, groups: Tensor, k: int) -> Tensor:
    """Indices of the `k` greatest `scores` ``(R,)`` in each of the `groups` ``(R,)``."""
    order = scores.argsort(descending=True)
    order = order[groups[order].argsort(stable=True)]
    sorted_groups = groups[order]
    ranks = torch.arange(len(order), device=order.device) - torch.searchsorted(sorted_groups, sorted_groups)
    return order[ranks < k]


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


def first_per_image(scored: ScoredBoxes, limit: int | None, images: int) -> ScoredBoxes:
    """The first `limit` boxes of each image, ordered by image."""
    order = scored.image_index.argsort(stable=True)
    if limit is not None:
        counts = counts_per_image(scored.image_index, images)
        order = torch.cat([per_image[:limit] for per_image in torch.split(order, counts)])
    return scored.take(order)


def clip_to_images(boxes: Tensor, image_index: Tensor, sizes: Sequence[Size]) -> Tensor:
    """`boxes` ``(R, 4)`` clipped to their images, whose (height, width) are `sizes`."""
    if len(set(sizes)) == 1:
        return clip_boxes(boxes, sizes[0])
    limits = torch.tensor([(width, height, width, height) for height, width in sizes], dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(limits.to(boxes.device, non_blocking=True)[image_index])
