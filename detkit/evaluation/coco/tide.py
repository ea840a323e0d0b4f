"""Error analysis of detections: how much AP each kind of error costs.

TIDE: Bolya et al., "A General Toolbox for Identifying Object Detection Errors", ECCV 2020.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from detkit.errors import InputError
from detkit.evaluation.coco import native_backend
from detkit.evaluation.coco.coco_evaluation import CocoEvaluation, check_native
from detkit.evaluation.coco.object_assignment import assign_matches, nearest_objects
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE, Protocol
from detkit.evaluation.packed_objects import PackedDetections, PackedObjects, select_rows
from detkit.ops.coco import accumulate

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1

ERROR_KINDS = ("localization", "classification", "duplicate", "background", "both")
"""The kinds of false positives, in the order in which they are tried."""
_LOCALIZATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND, _BOTH = range(len(ERROR_KINDS))
_NO_ERROR = -1


@dataclass(frozen=True)
class ErrorAnalysis:
    """The errors at IoU 0.5, each kind by name: ``classification``, ``localization``, ``both``, ``duplicate``,
    ``background`` and ``missed``, and then all ``false_positives`` and all ``false_negatives`` together.

    Args:
        ap: AP at IoU 0.5; -1 where there is nothing to measure, and then all else is 0.
        cost: how much AP would rise if all errors of one kind were fixed.
        count: the number of errors of each kind.
    """

    ap: float
    cost: dict[str, float]
    count: dict[str, int]


def analyze_errors(evaluation: CocoEvaluation) -> ErrorAnalysis:
    """Give each false positive and each undetected object one cause, and fix the errors of one cause at a time.

    With the IoU of a false positive and its nearest object of the same class and of another (TIDE, section 2.2):

    - localization: 0.1 to 0.5 with its own class; fixed by moving it onto the object;
    - classification: at least 0.5 with another class; fixed by giving it that class;
    - duplicate: at least 0.5 with its own class, whose object a better detection has matched; fixed by removing it;
    - background: less than 0.1 with any object; removed;
    - both: 0.1 to 0.5 with another class; removed;
    - missed: an object that nothing detected and neither of the first two could be moved to; taken from the count.

    Where a fixed detection would match an object that has a match already, or a better one is moved to, it is removed.
    Crowds, and detections that COCO ignores, are no errors.

    Args:
        evaluation: of boxes or masks.

    Raises:
        InputError: keypoints were compared, or the native kernels were not built.
    """
    return assign_errors(evaluation).result()


def assign_errors(evaluation: CocoEvaluation) -> AssignedErrors:
    """The cause of each wrong detection, see `analyze_errors`.

    A cause does not depend on detections with lower scores.

    Raises:
        InputError: keypoints were compared, or the native kernels were not built.
    """
    if evaluation.iou_type == "keypoints":
        raise InputError(
            "errors are analyzed for boxes and masks (bbox, segm), which TIDE is defined for, not keypoints"
        )
    check_native("the analysis of errors")
    return AssignedErrors.of(evaluation)


@dataclass(frozen=True, eq=False)
class AssignedErrors:
    """M detections that COCO evaluates, by category, by image, best first, and G objects that are no crowd.

    Args:
        is_correct: bool ``(M,)`` it was matched to an object.
        error: int64 ``(M,)`` index into `ERROR_KINDS`, -1 for one that is correct or ignored.
        object_of: int64 ``(M,)`` the object that it was matched to or can be moved to; -1 for none.
        iou: float64 ``(M,)`` the greatest IoU with an object: of its class if correct or a localization error, of
            another class if a classification error, else of any.
        is_detected: bool ``(G,)``.
    """

    protocol: Protocol
    detections: PackedDetections
    is_correct: np.ndarray
    error: np.ndarray
    object_of: np.ndarray
    iou: np.ndarray
    objects: PackedObjects
    is_detected: np.ndarray
    classes: int

    @classmethod
    def of(cls, evaluation: CocoEvaluation) -> AssignedErrors:
        """Match as COCO does, then find the cause of each error."""
        truth = evaluation.ground_truth
        protocol = evaluation.protocol.at_threshold(FOREGROUND_IOU)
        matches = native_backend.match(
            truth, evaluation.detections, evaluation.iou_type, protocol, evaluation.keypoint_sigmas
        )
        detections = select_rows(evaluation.detections, matches.order)
        objects = select_rows(truth.objects, np.flatnonzero(~truth.objects.ignored))
        ignored = matches.ignored[0] != 0
        is_correct = (matches.matched[0] != 0) & ~ignored
        own, other, close = nearest_objects(detections, objects, evaluation.iou_type, FOREGROUND_IOU)
        matched_object = assign_matches(detections, is_correct, close)
        is_detected = np.zeros(len(objects), dtype=bool)
        is_detected[matched_object[is_correct]] = True
        error = np.select(
            [
                (own.iou >= BACKGROUND_IOU) & (own.iou < FOREGROUND_IOU),
                other.iou >= FOREGROUND_IOU,
                own.iou >= FOREGROUND_IOU,
                np.maximum(own.iou, other.iou) < BACKGROUND_IOU,
            ],
            [_LOCALIZATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND],
            _BOTH,
        )
        error[is_correct | ignored] = _NO_ERROR
        object_of = np.select(
            [is_correct, error == _LOCALIZATION, error == _CLASSIFICATION],
            [matched_object, own.object, other.object],
            -1,
        )
        iou = np.maximum(own.iou, other.iou)
        iou = np.select([is_correct | (error == _LOCALIZATION), error == _CLASSIFICATION], [own.iou, other.iou], iou)
        classes = len(evaluation.categories)
        return cls(protocol, detections, is_correct, error, object_of, iou, objects, is_detected, classes)

    def result(self) -> ErrorAnalysis:
        """Fix one kind of error after the other."""
        is_error, everything = self.error != _NO_ERROR, np.ones(len(self.is_correct), dtype=bool)
        is_fixable = (self.error == _LOCALIZATION) | (self.error == _CLASSIFICATION)
        is_reachable = self.is_detected.copy()
        is_reachable[self.object_of[is_fixable]] = True
        undetected = np.bincount(self.objects.categories[~self.is_detected], minlength=self.classes)
        missed = np.bincount(self.objects.categories[~is_reachable], minlength=self.classes)
        ap = self._ap(everything)
        fixed = {
            "classification": self._ap_when_fixed(_CLASSIFICATION),
            "localization": self._ap_when_fixed(_LOCALIZATION),
            **{name: self._ap(self.error != ERROR_KINDS.index(name)) for name in ("both", "duplicate", "background")},
            "missed": self._ap(everything, fewer_objects=missed),
            "false_positives": self._ap(~is_error),
            "false_negatives": self._ap(everything, fewer_objects=undetected),
        }
        count = {name: int((self.error == ERROR_KINDS.index(name)).sum()) for name in fixed if name in ERROR_KINDS}
        count |= {"missed": int(missed.sum()), "false_positives": int(is_error.sum())}
        count |= {"false_negatives": int(undetected.sum())}
        # Without any object left there is nothing to measure, and nothing lost.
        cost = {name: value - ap if min(ap, value) > NOTHING_TO_MEASURE else 0.0 for name, value in fixed.items()}
        return ErrorAnalysis(ap, cost, count)

    def _ap_when_fixed(self, kind: int) -> float:
        """AP with the errors of a kind fixed, the best of those that share an object; the others removed."""
        candidates = np.flatnonzero(self.error == kind)
        candidates = candidates[~self.is_detected[self.object_of[candidates]]]
        best_first = candidates[np.argsort(-self.detections.scores[candidates], kind="stable")]
        fixed = best_first[np.unique(self.object_of[best_first], return_index=True)[1]]
        is_correct, kept = self.is_correct.copy(), self.error != kind
        is_correct[fixed], kept[fixed] = True, True
        categories = self.detections.categories.copy()
        categories[fixed] = self.objects.categories[self.object_of[fixed]]
        return self._ap(kept, is_correct, categories)

    def _ap(
        self,
        kept: np.ndarray,
        is_correct: np.ndarray | None = None,
        categories: np.ndarray | None = None,
        fewer_objects: np.ndarray | int = 0,
    ) -> float:
        """AP of the detections that are `kept`."""
        is_correct = self.is_correct if is_correct is None else is_correct
        categories = self.detections.categories if categories is None else categories
        rows = np.flatnonzero(kept)
        rows = rows[np.lexsort((-self.detections.scores[rows], self.detections.images[rows], categories[rows]))]
        ignored = (self.error == _NO_ERROR) & ~self.is_correct
        objects = np.bincount(self.objects.categories, minlength=self.classes) - fewer_objects
        precision, _, _ = accumulate(
            torch.from_numpy(self.detections.scores),
            torch.from_numpy(self.detections.images),
            torch.from_numpy(categories),
            torch.from_numpy(rows),
            torch.from_numpy(is_correct[rows][None].astype(np.int32)),
            torch.from_numpy(ignored[rows][None].astype(np.int32)),
            torch.from_numpy(objects[None].astype(np.float64)),
            torch.from_numpy(self.protocol.recall_thresholds),
            [max(len(rows), 1)],
            1,
            None,
        )
        values = precision.numpy()
        measured = values[values > NOTHING_TO_MEASURE]
        return float(measured.mean()) if measured.size else NOTHING_TO_MEASURE
