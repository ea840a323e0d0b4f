"""COCO's evaluation by the native kernels: ``csrc/coco.h`` says what they compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import from_numpy

from detkit.evaluation.coco.protocol import Curves, Protocol
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import Found, Masks
from detkit.ops import coco


@dataclass(frozen=True, eq=False)
class Matches:
    """Which of M detections find an object, by category, by image, best first.

    Args:
        order: int64 ``(M,)`` the detections, as positions among those that were given.
        matched: int32 ``(A, M)`` bit t: it found an object at IoU threshold t.
        ignored: int32 ``(A, M)`` bit t: it counts neither as right nor as wrong.
    """

    order: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray


def match(
    ground_truth: GroundTruth, found: Found, iou_type: str, protocol: Protocol, keypoint_sigmas: np.ndarray
) -> Matches:
    """Let the detections find their objects."""
    objects = ground_truth.objects
    compared = coco.Compared(
        from_numpy(found.scores),
        from_numpy(found.images),
        from_numpy(found.categories),
        from_numpy(found.areas),
        from_numpy(objects.images),
        from_numpy(objects.categories),
        from_numpy(objects.areas),
        from_numpy(objects.iscrowd),
        from_numpy(objects.ignored),
        from_numpy(protocol.iou_thresholds),
        torch.tensor(list(protocol.areas.values()), dtype=torch.float64),
        max(protocol.max_detections),
    )
    if iou_type == "bbox":
        result = coco.match_boxes(compared, from_numpy(found.boxes), from_numpy(objects.boxes))
    elif iou_type == "segm":
        result = coco.match_masks(compared, _string_masks(found.masks), _string_masks(objects.masks))
    else:
        joints = len(keypoint_sigmas)
        result = coco.match_keypoints(
            compared,
            from_numpy(found.keypoints),
            from_numpy(objects.keypoints if objects.keypoints.shape[1] else np.zeros((len(objects), joints, 3))),
            from_numpy(objects.boxes),
            from_numpy(keypoint_sigmas),
        )
    return Matches(*(tensor.numpy() for tensor in result))


def accumulate(
    ground_truth: GroundTruth,
    found: Found,
    matches: Matches,
    protocol: Protocol,
    image_weights: np.ndarray | None = None,
) -> Curves:
    """Draw the curves; `image_weights`, float64 ``(I,)``, says how often each image counts."""
    precision, recall, scores = coco.accumulate(
        from_numpy(found.scores),
        from_numpy(found.images),
        from_numpy(found.categories),
        from_numpy(matches.order),
        from_numpy(matches.matched),
        from_numpy(matches.ignored),
        from_numpy(objects_to_find(ground_truth, protocol, image_weights)),
        from_numpy(protocol.recall_thresholds),
        list(protocol.max_detections),
        len(protocol.iou_thresholds),
        None if image_weights is None else from_numpy(image_weights),
    )
    return Curves(
        precision.permute(3, 4, 0, 1, 2).numpy(),
        recall.permute(3, 0, 1, 2).numpy(),
        scores.permute(3, 4, 0, 1, 2).numpy(),
    )


def objects_to_find(
    ground_truth: GroundTruth, protocol: Protocol, image_weights: np.ndarray | None = None
) -> np.ndarray:
    """float64 ``(A, K)`` how many objects of each size and category there are to be found."""
    objects, classes = ground_truth.objects, len(ground_truth.categories)
    weights = np.ones(len(objects)) if image_weights is None else image_weights[objects.images]
    weights = np.where(objects.ignored, 0.0, weights)
    counts = np.zeros((len(protocol.areas), classes))
    for row, (low, high) in zip(counts, protocol.areas.values(), strict=True):
        of_size = (objects.areas >= low) & (objects.areas <= high)
        np.add.at(row, objects.categories[of_size], weights[of_size])
    return counts


def _string_masks(masks: Masks) -> coco.StringMasks:
    measures = masks.measures
    # Of a mask with empty runs, the pixels do not tell how much it overlaps at most.
    pixels = np.where(measures.have_empty_runs, np.nan, measures.areas)
    return coco.StringMasks(*map(from_numpy, (masks.strings, masks.offsets, masks.sizes, pixels, measures.boxes)))
