"""The confusion matrix of detections: which class each object was taken for, or the background."""

from __future__ import annotations

import numpy as np

from detkit.errors import InputError
from detkit.evaluation.coco import native_backend
from detkit.evaluation.coco.coco_evaluation import CocoEvaluation, check_native
from detkit.evaluation.coco.object_assignment import Pairs, pairs_by_image
from detkit.evaluation.confusion.confusion_matrix import BACKGROUND, ConfusionMatrix
from detkit.evaluation.packed_objects import select_rows

SCORE_THRESHOLD = 0.3
IOU_THRESHOLD = 0.5


def confuse_detections(
    evaluation: CocoEvaluation, score_threshold: float = SCORE_THRESHOLD, iou_threshold: float = IOU_THRESHOLD
) -> ConfusionMatrix:
    """The confusion matrix ``(K + 1, K + 1)`` of detections; the last row and column are the background.

    Detections and objects of an image are paired whatever their classes are, one to one. Of all pairs with enough IoU,
    those of the same class come first, then those of the greatest IoU, and each takes its detection and its object. A
    pair counts in the row of the object's class and in the column of the detection's. An object without a detection
    counts in the last column, a detection without an object in the last row.

    Crowds are no objects, and a detection that COCO ignores because of a crowd and that has no object does not count.

    Args:
        evaluation: of boxes or masks.
        score_threshold: the least score of a detection that counts.
        iou_threshold: the least IoU of a pair.

    Raises:
        InputError: keypoints were compared, a threshold is out of range, or the native kernels were not built.
    """
    if evaluation.iou_type == "keypoints":
        raise InputError("the confusion matrix is of boxes or masks (bbox, segm), not of keypoints")
    if not 0 <= score_threshold <= 1:
        raise InputError(f"score_threshold is {score_threshold}; choose one from 0 to 1")
    if not 0 < iou_threshold <= 1:
        raise InputError(f"iou_threshold is {iou_threshold}; choose one above 0, up to 1")
    check_native("the confusion matrix")
    classes = len(evaluation.categories)
    counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
    if evaluation.ground_truth.image_ids and classes:
        true, predicted = _counted_classes(evaluation, score_threshold, iou_threshold)
        np.add.at(counts, (true, predicted), 1)
    conditions = f"IoU of at least {iou_threshold:g}, scores of at least {score_threshold:g}"
    names = [*(category.name for category in evaluation.categories), BACKGROUND]
    return ConfusionMatrix(names, counts, "objects", conditions)


def _counted_classes(
    evaluation: CocoEvaluation, score_threshold: float, iou_threshold: float
) -> tuple[np.ndarray, np.ndarray]:
    """The true and the predicted class of all that counts; K, the number of classes, is the background."""
    truth, background = evaluation.ground_truth, len(evaluation.categories)
    protocol = evaluation.protocol.at_threshold(iou_threshold)
    scored = select_rows(evaluation.detections, np.flatnonzero(evaluation.detections.scores >= score_threshold))
    matches = native_backend.match(truth, scored, evaluation.iou_type, protocol, evaluation.keypoint_sigmas)
    detections = select_rows(scored, matches.order)
    objects = select_rows(truth.objects, np.flatnonzero(~truth.objects.ignored))
    object_of = np.full(len(detections), -1)
    is_detected = np.zeros(len(objects), dtype=bool)
    for pairs in pairs_by_image(detections, objects, evaluation.iou_type):
        near = pairs.select(pairs.iou >= iou_threshold)
        taken = _one_to_one(near, detections.categories[near.detections] == objects.categories[near.objects])
        object_of[taken.detections] = taken.objects
        is_detected[taken.objects] = True
    counted = np.flatnonzero((object_of >= 0) | (matches.ignored[0] == 0))
    true_class = np.append(objects.categories, background)[object_of]  # -1 is the last one
    undetected = objects.categories[~is_detected]
    return (
        np.concatenate([true_class[counted], undetected]),
        np.concatenate([detections.categories[counted], np.full(len(undetected), background)]),
    )


def _one_to_one(pairs: Pairs, is_same: np.ndarray) -> Pairs:
    """The pairs that a pass over them takes, those of one class first, then by falling IoU; of equals the first.

    A pair that is the first of both its detection and its object is taken by such a pass, whatever the others are, so
    each round takes all of these at once.
    """
    left = pairs.select(np.lexsort((-pairs.iou, ~is_same)))
    taken = [left.select(np.zeros(0, dtype=np.int64))]
    while len(left.iou):
        is_first = np.zeros(len(left.iou), dtype=bool)
        is_first[np.unique(left.detections, return_index=True)[1]] = True
        of_object = np.unique(left.objects, return_index=True)[1]
        first = of_object[is_first[of_object]]
        taken.append(left.select(first))
        is_left = ~np.isin(left.detections, left.detections[first]) & ~np.isin(left.objects, left.objects[first])
        left = left.select(is_left)
    return Pairs(*(np.concatenate([getattr(one, name) for one in taken]) for name in vars(left)))
