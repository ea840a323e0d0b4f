"""COCO's evaluation by the native kernels; ``csrc/coco.h`` documents what they compute."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import from_numpy

from detkit.evaluation.coco.protocol import Curves, Protocol
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import Masks, PackedDetections
from detkit.ops import coco


@dataclass(frozen=True, eq=False)
class Matches:
    """Which of M detections match an object, ordered by category, by image, best first.

    Args:
        order: int64 ``(M,)`` the detections, as positions among those that were given.
        matched: int32 ``(A, M)`` bit t: it matches an object at IoU threshold t.
        ignored: int32 ``(A, M)`` bit t: it counts neither as a true nor as a false positive.
    """

    order: np.ndarray
    matched: np.ndarray
    ignored: np.ndarray


def match(
    ground_truth: GroundTruth,
    detections: PackedDetections,
    iou_type: str,
    protocol: Protocol,
    keypoint_sigmas: np.ndarray,
) -> Matches:
    """Match detections to objects, the highest-scoring detection first.

    Raises:
        ValueError: the detections or the objects lack what `iou_type` compares.
    """
    objects = ground_truth.objects
    compared = coco.Compared(
        from_numpy(detections.scores),
        from_numpy(detections.images),
        from_numpy(detections.categories),
        from_numpy(detections.areas),
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
        result = coco.match_boxes(compared, from_numpy(detections.boxes), from_numpy(objects.boxes))
    elif iou_type == "segm":
        if detections.masks is None or objects.masks is None:
            raise ValueError("detections or objects have no masks")
        result = coco.match_masks(compared, _string_masks(detections.masks), _string_masks(objects.masks))
    else:
        if detections.keypoints is None or objects.keypoints is None:
            raise ValueError("detections or objects have no keypoints")
        joints = len(keypoint_sigmas)
        result = coco.match_keypoints(
            compared,
            from_numpy(detections.keypoints),
            from_numpy(objects.keypoints if objects.keypoints.shape[1] else np.zeros((len(objects), joints, 3))),
            from_numpy(objects.boxes),
            from_numpy(keypoint_sigmas),
        )
    return Matches(*(tensor.numpy() for tensor in result))


def accumulate(
    ground_truth: GroundTruth,
    detections: PackedDetections,
    matches: Matches,
    protocol: Protocol,
    image_weights: np.ndarray | None = None,
) -> Curves:
    """The curves of matched detections; `image_weights`, float64 ``(I,)``, says how often each image counts."""
    precision, recall, scores = coco.accumulate(
        from_numpy(detections.scores),
        from_numpy(detections.images),
        from_numpy(detections.categories),
        from_numpy(matches.order),
        from_numpy(matches.matched),
        from_numpy(matches.ignored),
        from_numpy(count_objects(ground_truth, protocol, image_weights)),
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


def count_objects(ground_truth: GroundTruth, protocol: Protocol, image_weights: np.ndarray | None = None) -> np.ndarray:
    """float64 ``(A, K)`` the number of objects to detect of each size and category."""
    objects, classes = ground_truth.objects, len(ground_truth.categories)
    weights = np.ones(len(objects)) if image_weights is None else image_weights[objects.images]
    weights = np.where(objects.ignored, 0.0, weights)
    counts = np.zeros((len(protocol.areas), classes))
    for row, (low, high) in zip(counts, protocol.areas.values(), strict=True):
        has_size = (objects.areas >= low) & (objects.areas <= high)
        np.add.at(row, objects.categories[has_size], weights[has_size])
    return counts


def _string_masks(masks: Masks) -> coco.StringMasks:
    measures = masks.measures
    # The area of a mask with empty runs does not bound its overlap.
    pixels = np.where(measures.have_empty_runs, np.nan, measures.areas)
    return coco.StringMasks(*map(from_numpy, (masks.strings, masks.offsets, masks.sizes, pixels, measures.boxes)))
