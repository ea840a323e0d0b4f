"""Precision and recall curves of COCO's evaluation, from which detections match an object."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.ops.library import is_native


def accumulate(
    scores: Tensor,
    images: Tensor,
    categories: Tensor,
    order: Tensor,
    matched: Tensor,
    ignored: Tensor,
    objects: Tensor,
    recall_thresholds: Tensor,
    max_detections: Sequence[int],
    threshold_count: int,
    image_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """The curves of COCO's evaluation, as ``COCOeval.accumulate`` of pycocotools computes them.

    Args:
        scores: ``(D,)`` float64.
        images: ``(D,)`` int64, of each detection the index of its image.
        categories: ``(D,)`` int64 in ``0..K-1``.
        order: ``(M,)`` int64, the evaluated detections by category, by image, highest score first.
        matched: ``(A, M)`` int32; bit t: it matches an object at IoU threshold t.
        ignored: ``(A, M)`` int32; bit t: it is neither a true nor a false positive.
        objects: ``(A, K)`` float64, the number of objects of each area range and category.
        recall_thresholds: ``(R,)`` float64, ascending.
        max_detections: L limits of the detections per image and category.
        threshold_count: T, the number of IoU thresholds.
        image_weights: ``(I,)`` float64, how often each image counts; None: once.

    Returns:
        Precision ``(K, A, L, T, R)``, recall ``(K, A, L, T)`` and score ``(K, A, L, T, R)``, float64; -1 where there is
        no object.
    """
    run = torch.ops.detkit.coco_accumulate if is_native(scores.device) else accumulate_reference
    curves: tuple[Tensor, Tensor, Tensor] = run(
        scores,
        images,
        categories,
        order,
        matched,
        ignored,
        objects,
        recall_thresholds,
        list(max_detections),
        threshold_count,
        image_weights,
    )
    return curves


def accumulate_reference(
    scores: Tensor,
    images: Tensor,
    categories: Tensor,
    order: Tensor,
    matched: Tensor,
    ignored: Tensor,
    objects: Tensor,
    recall_thresholds: Tensor,
    max_detections: Sequence[int],
    threshold_count: int,
    image_weights: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """`accumulate` in plain torch, one curve after the other."""
    area_count, category_count = objects.shape
    shape = category_count, area_count, len(max_detections), threshold_count
    precision = torch.full((*shape, len(recall_thresholds)), -1.0, dtype=torch.float64)
    recall, score = torch.full(shape, -1.0, dtype=torch.float64), precision.clone()
    weights = torch.ones(len(order), dtype=torch.float64) if image_weights is None else image_weights[images[order]]
    ranks = _ranks(images[order], categories[order])
    for category in range(category_count):
        members = torch.where((categories[order] == category) & (weights != 0))[0]
        members = members[torch.argsort(scores[order[members]], descending=True, stable=True)]
        for area in torch.where(objects[:, category] > 0)[0].tolist():
            for position, limit in enumerate(max_detections):
                rows = members[ranks[members] < limit]
                for threshold in range(threshold_count):
                    counts = (ignored[area, rows] >> threshold) & 1 == 0
                    is_right = (matched[area, rows] >> threshold) & 1 == 1
                    right = (weights[rows] * (counts & is_right)).cumsum(0)
                    wrong = (weights[rows] * (counts & ~is_right)).cumsum(0)
                    cell = category, area, position, threshold
                    recall[cell], precision[cell], score[cell] = _curve(
                        right, wrong, scores[order[rows]], float(objects[area, category]), recall_thresholds
                    )
    return precision, recall, score


def _ranks(images: Tensor, categories: Tensor) -> Tensor:
    """The rank of each row among those of its image and category, which are consecutive."""
    ranks = torch.zeros(len(images), dtype=torch.int64)
    for row in range(1, len(images)):
        if images[row] == images[row - 1] and categories[row] == categories[row - 1]:
            ranks[row] = ranks[row - 1] + 1
    return ranks


def _curve(
    right: Tensor, wrong: Tensor, scores: Tensor, object_count: float, recall_thresholds: Tensor
) -> tuple[float, Tensor, Tensor]:
    """Recall, and precision and score ``(R,)`` where each recall is reached, from cumulative sums ``(M,)``."""
    precision, score = torch.zeros_like(recall_thresholds), torch.zeros_like(recall_thresholds)
    if len(right) == 0:
        return 0.0, precision, score
    recalls = right / object_count
    envelope = (right / (right + wrong + np.spacing(1))).flip(0).cummax(0).values.flip(0)
    at = torch.searchsorted(recalls, recall_thresholds)
    is_reached = at < len(recalls)
    precision[is_reached], score[is_reached] = envelope[at[is_reached]], scores[at[is_reached]]
    return float(recalls[-1]), precision, score
