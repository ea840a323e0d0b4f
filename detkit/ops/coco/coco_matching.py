"""Matching detections to objects as COCO's evaluation does, by the IoU of boxes or masks or the OKS of keypoints."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable
from itertools import groupby
from typing import Any, NamedTuple

import numpy as np
import torch
from pycocotools import mask as coco_masks
from torch import Tensor

from detkit.ops.library import is_native
from detkit.ops.masks.ragged import unpack_rows

Matches = tuple[Tensor, Tensor, Tensor]
Similarity = Callable[[list[int], list[int]], np.ndarray]


class Compared(NamedTuple):
    """D detections and G objects of many images, and how to match them.

    Args:
        scores: ``(D,)`` float64.
        images: ``(D,)`` int64, of each detection the index of its image.
        categories: ``(D,)`` int64.
        areas: ``(D,)`` float64 in square pixels.
        object_images: ``(G,)`` int64.
        object_categories: ``(G,)`` int64.
        object_areas: ``(G,)`` float64.
        object_crowd: ``(G,)`` bool; a crowd matches any number of detections.
        object_ignored: ``(G,)`` bool; neither counts if matched nor if missed. Crowds are among them.
        thresholds: ``(T,)`` float64, of the similarity; at most 31.
        area_ranges: ``(A, 2)`` float64, both ends included.
        max_detections: the most detections that are evaluated per image and category.
    """

    scores: Tensor
    images: Tensor
    categories: Tensor
    areas: Tensor
    object_images: Tensor
    object_categories: Tensor
    object_areas: Tensor
    object_crowd: Tensor
    object_ignored: Tensor
    thresholds: Tensor
    area_ranges: Tensor
    max_detections: int


class StringMasks(NamedTuple):
    """N masks as compressed strings, with what `detkit.ops.coco.measure_masks` measures of them.

    Args:
        strings: ``(C,)`` uint8, end to end.
        offsets: ``(N + 1,)`` int64, where each string begins.
        sizes: ``(N, 2)`` int64, height and width.
        pixels: ``(N,)`` float64, areas; NaN for a mask with empty runs.
        boxes: ``(N, 4)`` float64, ``x y width height``.
    """

    strings: Tensor
    offsets: Tensor
    sizes: Tensor
    pixels: Tensor
    boxes: Tensor


def match_boxes(compared: Compared, boxes: Tensor, object_boxes: Tensor) -> Matches:
    """Match boxes ``(D, 4)`` and ``(G, 4)`` float64, ``x y width height``, by IoU.

    Returns:
        ``order`` ``(M,)`` int64, the evaluated detections by category, by image, highest score first; ``matched``
        ``(A, M)`` int32, bit t: it matches an object at threshold t; ``ignored`` ``(A, M)`` int32, bit t: it is neither
        a true nor a false positive.
    """
    if not is_native(compared.scores.device):
        return match_boxes_reference(compared, boxes, object_boxes)
    matches: Matches = torch.ops.detkit.coco_match_boxes(*compared, boxes, object_boxes)
    return matches


def match_masks(compared: Compared, masks: StringMasks, object_masks: StringMasks) -> Matches:
    """Match masks by IoU; returns as of `match_boxes`."""
    if not is_native(compared.scores.device):
        return match_masks_reference(compared, masks, object_masks)
    matches: Matches = torch.ops.detkit.coco_match_masks(*compared, *masks, *object_masks)
    return matches


def match_keypoints(
    compared: Compared, keypoints: Tensor, object_keypoints: Tensor, object_boxes: Tensor, sigmas: Tensor
) -> Matches:
    """Match keypoints by object keypoint similarity (OKS); returns as of `match_boxes`.

    Args:
        compared: the detections and objects.
        keypoints: ``(D, J, 3)`` float64, ``x y score``.
        object_keypoints: ``(G, J, 3)`` float64, ``x y visibility``.
        object_boxes: ``(G, 4)`` float64, ``x y width height``.
        sigmas: ``(J,)`` float64.
    """
    arguments = keypoints, object_keypoints, object_boxes, sigmas
    if not is_native(compared.scores.device):
        return match_keypoints_reference(compared, *arguments)
    matches: Matches = torch.ops.detkit.coco_match_keypoints(*compared, *arguments)
    return matches


def match_boxes_reference(compared: Compared, boxes: Tensor, object_boxes: Tensor) -> Matches:
    """`match_boxes` in plain Python, with the IoU of pycocotools."""

    def iou(rows: list[int], columns: list[int]) -> np.ndarray:
        crowd = compared.object_crowd[columns].tolist()
        return np.asarray(coco_masks.iou(boxes[rows].numpy(), object_boxes[columns].numpy(), crowd))

    return _match_reference(compared, iou)


def match_masks_reference(compared: Compared, masks: StringMasks, object_masks: StringMasks) -> Matches:
    """`match_masks` in plain Python, with the IoU of pycocotools."""
    encoded, object_encoded = _encoded(masks), _encoded(object_masks)

    def iou(rows: list[int], columns: list[int]) -> np.ndarray:
        crowd = compared.object_crowd[columns].tolist()
        return np.asarray(
            coco_masks.iou([encoded[row] for row in rows], [object_encoded[column] for column in columns], crowd)
        )

    return _match_reference(compared, iou)


def match_keypoints_reference(
    compared: Compared, keypoints: Tensor, object_keypoints: Tensor, object_boxes: Tensor, sigmas: Tensor
) -> Matches:
    """`match_keypoints` in plain Python."""
    points, variances = keypoints.numpy(), (2 * sigmas.numpy()) ** 2

    def similarity(rows: list[int], columns: list[int]) -> np.ndarray:
        result = np.zeros((len(rows), len(columns)))
        for at, column in enumerate(columns):
            truth, (x, y, width, height) = object_keypoints[column].numpy(), object_boxes[column].tolist()
            is_labeled = truth[:, 2] > 0
            if is_labeled.any():
                offsets = points[rows][:, is_labeled, :2] - truth[is_labeled, :2]
            else:  # distances from the box, grown by its own size on each side
                low, high = np.array((x - width, y - height)), np.array((x + 2 * width, y + 2 * height))
                offsets = np.maximum(0, low - points[rows][..., :2]) + np.maximum(0, points[rows][..., :2] - high)
            spread = variances[is_labeled] if is_labeled.any() else variances
            area = float(compared.object_areas[column]) + np.spacing(1)
            result[:, at] = np.exp(-(offsets**2).sum(axis=2) / spread / area / 2).mean(axis=1)
        return result

    return _match_reference(compared, similarity)


def _match_reference(compared: Compared, similarity: Similarity) -> Matches:
    """``COCOeval.evaluateImg`` of pycocotools for each image and category."""
    scores, keys = compared.scores.tolist(), _keys(compared.categories, compared.images)
    objects_of: dict[tuple[int, int], list[int]] = defaultdict(list)
    for index, key in enumerate(_keys(compared.object_categories, compared.object_images)):
        objects_of[key].append(index)
    order: list[int] = []
    matched: list[list[int]] = []
    ignored: list[list[int]] = []
    for key, group in groupby(sorted(range(len(scores)), key=lambda row: (keys[row], -scores[row])), keys.__getitem__):
        rows, objects = list(group)[: compared.max_detections], objects_of[key]
        values = similarity(rows, objects) if objects else np.zeros((len(rows), 0))
        order += rows
        by_area = [_match_group(compared, rows, objects, values, *area) for area in compared.area_ranges.tolist()]
        matched += [list(bits) for bits in zip(*(bits for bits, _ in by_area), strict=True)]
        ignored += [list(bits) for bits in zip(*(bits for _, bits in by_area), strict=True)]
    shape = len(order), len(compared.area_ranges)
    return (
        torch.tensor(order, dtype=torch.int64),
        torch.tensor(matched, dtype=torch.int32).reshape(shape).T.contiguous(),
        torch.tensor(ignored, dtype=torch.int32).reshape(shape).T.contiguous(),
    )


def _match_group(
    compared: Compared, rows: list[int], objects: list[int], values: np.ndarray, low: float, high: float
) -> tuple[list[int], list[int]]:
    """Bits of what is matched and of what is ignored, for the detections `rows` of one image and category."""
    crowd = compared.object_crowd[objects].tolist()
    areas = compared.object_areas[objects].tolist()
    skipped = [
        ignored or not low <= area <= high
        for ignored, area in zip(compared.object_ignored[objects].tolist(), areas, strict=True)
    ]
    candidates = sorted(range(len(objects)), key=skipped.__getitem__)  # those that count come first
    matched_bits, ignored_bits = [0] * len(rows), [0] * len(rows)
    for bit, threshold in enumerate(compared.thresholds.tolist()):
        taken: set[int] = set()
        for at, row in enumerate(rows):
            best, match = min(threshold, 1 - 1e-10), -1
            for candidate in candidates:
                if candidate in taken and not crowd[candidate]:
                    continue
                if match >= 0 and not skipped[match] and skipped[candidate]:
                    break
                if values[at, candidate] >= best:
                    best, match = values[at, candidate], candidate
            taken.add(match)
            outside = not low <= float(compared.areas[row]) <= high
            matched_bits[at] |= (match >= 0) << bit
            ignored_bits[at] |= (skipped[match] if match >= 0 else outside) << bit
    return matched_bits, ignored_bits


def _keys(categories: Tensor, images: Tensor) -> list[tuple[int, int]]:
    return list(zip(categories.tolist(), images.tolist(), strict=True))


def _encoded(masks: StringMasks) -> list[dict[str, Any]]:
    texts = unpack_rows(masks.strings, masks.offsets)
    return [
        {"size": size, "counts": text.numpy().tobytes()} for size, text in zip(masks.sizes.tolist(), texts, strict=True)
    ]
