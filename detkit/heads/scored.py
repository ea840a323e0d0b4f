"""Boxes with their scores, of all images of a batch, and what is done with them before and after suppression.

R  boxes of a batch     B  images
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from detkit.boxes import clip_boxes
from detkit.geometry import Size


class Scored(NamedTuple):
    """Boxes of a batch with their scores.

    Args:
        boxes: ``(R, 4)`` in the network's frame.
        scores: ``(R,)`` in [0, 1].
        labels: ``(R,)`` int64; boxes of different labels leave each other alone.
        image_index: ``(R,)`` int64, the image of each.
    """

    boxes: Tensor
    scores: Tensor
    labels: Tensor
    image_index: Tensor

    def at(self, rows: Tensor) -> Scored:
        """Those that `rows` names."""
        return Scored(*(part[rows] for part in self))


def best_of_each(scores: Tensor, groups: Tensor, most: int) -> Tensor:
    """Indices of the `most` greatest of `scores` ``(R,)`` of each of `groups` ``(R,)``."""
    order = scores.argsort(descending=True)
    order = order[groups[order].argsort(stable=True)]
    of_group = groups[order]
    ranks = torch.arange(len(order), device=order.device) - torch.searchsorted(of_group, of_group)
    return order[ranks < most]


def finite(boxes: Tensor) -> Tensor:
    """Which of `boxes` ``(R, 4)`` have four numbers."""
    x1, y1, x2, y2 = boxes.unbind(dim=1)
    return (x1 + y1 + x2 + y2).isfinite()


def groups_of(scored: Scored, images: int) -> Tensor:
    """A number for each class of each image."""
    return scored.labels * images + scored.image_index


def counts_of(image_index: Tensor, images: int) -> list[int]:
    return torch.bincount(image_index, minlength=images).tolist()


def first_of_each_image(scored: Scored, most: int | None, images: int) -> Scored:
    """The first `most` of each image, images in turn."""
    order = scored.image_index.argsort(stable=True)
    if most is not None:
        counts = counts_of(scored.image_index, images)
        order = torch.cat([of_image[:most] for of_image in order.split(counts)])
    return scored.at(order)


def cut(boxes: Tensor, image_index: Tensor, sizes: Sequence[Size]) -> Tensor:
    """`boxes` ``(R, 4)`` cut at the edges of their images."""
    if len(set(sizes)) == 1:
        return clip_boxes(boxes, sizes[0])
    limits = torch.tensor([(width, height, width, height) for height, width in sizes], dtype=boxes.dtype)
    return boxes.clamp(min=0).minimum(limits.to(boxes.device, non_blocking=True)[image_index])
