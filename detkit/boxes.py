"""Boxes ``x1 y1 x2 y2`` in continuous pixels: measuring, clipping and the encodings that networks regress."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

# exp() of a larger size delta would make boxes no image holds: 16 px (one stride) to 1000 px, as published code has it.
MAX_SIZE_DELTA = math.log(1000 / 16)


def box_area(boxes: Tensor) -> Tensor:
    """Areas ``(...,)`` in square pixels of `boxes` ``(..., 4)``."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """`boxes` ``(..., 4)`` cut to an image of `image_size` (height, width)."""
    height, width = image_size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x, y), dim=-1).flatten(-2)


def at_least(boxes: Tensor, size: float) -> Tensor:
    """Which of `boxes` ``(..., 4)`` are at least `size` pixels wide and high, NaN is not; bool ``(...,)``."""
    return (boxes[..., 2:] - boxes[..., :2] >= size).all(dim=-1)


def coverage(boxes: Tensor, regions: Tensor) -> Tensor:
    """The share of each box's own area that lies in each region: ``(N, 4), (M, 4) -> (N, M)`` in [0, 1].

    This is what COCO's evaluation uses in place of IoU against crowd regions. A box without area is covered by none.
    """
    top_left = torch.maximum(boxes[:, None, :2], regions[None, :, :2])
    bottom_right = torch.minimum(boxes[:, None, 2:], regions[None, :, 2:])
    intersection = (bottom_right - top_left).clamp(min=0).prod(dim=-1)
    area = box_area(boxes)[:, None]
    return torch.where(area > 0, intersection / area, 0)


class DeltaCoder:
    """Boxes as offsets from reference boxes, for regression (R-CNN, appendix C; Faster R-CNN, eq. 2).

    With a reference of centre ``(ax, ay)`` and size ``(aw, ah)``, a box ``(x, y, w, h)`` becomes
    ``wx (x - ax) / aw,  wy (y - ay) / ah,  ww log(w / aw),  wh log(h / ah)``.

    Args:
        weights: ``wx wy ww wh``; 10, 10, 5, 5 make the deltas of matched proposals have unit variance on COCO.
    """

    def __init__(self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        self.weights = tuple(weights)

    def encode(self, references: Tensor, boxes: Tensor) -> Tensor:
        """Deltas ``(..., 4)`` that lead from `references` to `boxes`, both ``(..., 4)`` and of positive size."""
        reference_centers, reference_sizes = _centers_and_sizes(references.float())
        centers, sizes = _centers_and_sizes(boxes.float())
        shift = (centers - reference_centers) / reference_sizes
        stretch = torch.log(sizes / reference_sizes)
        return torch.cat((shift, stretch), dim=-1) * shift.new_tensor(self.weights)

    def decode(self, references: Tensor, deltas: Tensor) -> Tensor:
        """Boxes ``(..., 4)`` that `deltas` make of `references`; the inverse of `encode`, float32 under autocast too.

        Size deltas are cut at ``log(1000 / 16)``.
        """
        reference_centers, reference_sizes = _centers_and_sizes(references.float())
        deltas = deltas.float() / deltas.new_tensor(self.weights, dtype=torch.float32)
        centers = deltas[..., :2] * reference_sizes + reference_centers
        half_sizes = 0.5 * torch.exp(deltas[..., 2:].clamp(max=MAX_SIZE_DELTA)) * reference_sizes
        return torch.cat((centers - half_sizes, centers + half_sizes), dim=-1)


def _centers_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sizes = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sizes, sizes
