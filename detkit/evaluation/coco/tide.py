"""What kinds of errors cost how much AP (TIDE: Bolya et al., "A General Toolbox for Identifying Object Detection
Errors", ECCV 2020)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np
import torch

from detkit.errors import InputError
from detkit.evaluation.coco import native
from detkit.evaluation.coco.coco_evaluation import CocoEvaluation, check_native
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE, Protocol
from detkit.evaluation.packed_objects import Found, Masks, Objects
from detkit.ops import RunLengths, mask_iou
from detkit.ops.coco import accumulate

FOREGROUND_IOU = 0.5
BACKGROUND_IOU = 0.1

# In the order in which a wrong detection is tried for them.
WRONG = ("localization", "classification", "duplicate", "background", "both")
_LOCALIZATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND, _BOTH = range(len(WRONG))

_PAIRS_AT_ONCE = 2**22


@dataclass(frozen=True)
class ErrorAnalysis:
    """The errors at IoU 0.5, each kind by name: ``classification``, ``localization``, ``both``, ``duplicate``,
    ``background`` and ``missed``, and then all ``false_positives`` and all ``false_negatives`` together.

    Args:
        ap: AP at IoU 0.5; -1 where there is nothing to measure, and then all else is 0.
        cost: how much greater AP would be if the errors of one kind were mended; small when little is lost by them.
        count: how many there are.
    """

    ap: float
    cost: dict[str, float]
    count: dict[str, int]


def analyze_errors(evaluation: CocoEvaluation) -> ErrorAnalysis:
    """Give each wrong detection and each object that was not found one cause, and mend one cause at a time.

    With the IoU of a wrong detection and its best object of the same class and of another (TIDE, section 2.2):

    - localization: 0.1 to 0.5 with its own class; mended by moving it onto the object;
    - classification: at least 0.5 with another class; mended by giving it that class;
    - duplicate: at least 0.5 with its own class, whose object a better detection has found; mended by removing it;
    - background: less than 0.1 with anything; removed;
    - both: 0.1 to 0.5 with another class; removed;
    - missed: an object that nothing found and neither of the first two could be mended onto; taken from the count.

    Where a mended detection would find an object that is found already, or that a better one is mended onto, it is
    removed. Crowds, and detections that COCO ignores, are no errors.

    Raises:
        InputError: keypoints were compared, or the native kernels were not built.
    """
    if evaluation.iou_type == "keypoints":
        raise InputError(
            "errors are analyzed of boxes and masks (bbox, segm), which TIDE is defined for, not keypoints"
        )
    check_native("analysing errors")
    return _Analysis.of(evaluation).result()


@dataclass(frozen=True, eq=False)
class _Analysis:
    """M detections that COCO looks at, by category, by image, best first, and G objects that are to be found.

    Args:
        right: bool ``(M,)`` it found an object.
        wrong: int64 ``(M,)`` index into `WRONG`, -1 for one that is right or ignored.
        object_of: int64 ``(M,)`` the object that it found or can be mended onto; -1 for none.
        is_found: bool ``(G,)``.
    """

    protocol: Protocol
    found: Found
    right: np.ndarray
    wrong: np.ndarray
    object_of: np.ndarray
    objects: Objects
    is_found: np.ndarray
    classes: int

    @classmethod
    def of(cls, evaluation: CocoEvaluation) -> _Analysis:
        """Match as COCO does, then find the cause of each error."""
        truth = evaluation.ground_truth
        protocol = _at_one_threshold(evaluation.protocol)
        matches = native.match(truth, evaluation.found, evaluation.iou_type, protocol, evaluation.keypoint_sigmas)
        found = _chosen(evaluation.found, matches.order)
        objects = _chosen(truth.objects, np.flatnonzero(~truth.objects.ignored))
        ignored = matches.ignored[0] != 0
        right = (matches.matched[0] != 0) & ~ignored
        own, other, close = _nearest(found, objects, evaluation.iou_type)
        found_object = _assigned(found, right, close)
        is_found = np.zeros(len(objects), dtype=bool)
        is_found[found_object[right]] = True
        wrong = np.select(
            [
                (own.iou >= BACKGROUND_IOU) & (own.iou < FOREGROUND_IOU),
                other.iou >= FOREGROUND_IOU,
                own.iou >= FOREGROUND_IOU,
                np.maximum(own.iou, other.iou) < BACKGROUND_IOU,
            ],
            [_LOCALIZATION, _CLASSIFICATION, _DUPLICATE, _BACKGROUND],
            _BOTH,
        )
        wrong[right | ignored] = -1
        object_of = np.select(
            [right, wrong == _LOCALIZATION, wrong == _CLASSIFICATION], [found_object, own.object, other.object], -1
        )
        return cls(protocol, found, right, wrong, object_of, objects, is_found, len(evaluation.categories))

    def result(self) -> ErrorAnalysis:
        """Mend one kind after the other."""
        is_wrong, everything = self.wrong >= 0, np.ones(len(self.right), dtype=bool)
        mendable = (self.wrong == _LOCALIZATION) | (self.wrong == _CLASSIFICATION)
        reachable = self.is_found.copy()
        reachable[self.object_of[mendable]] = True
        unfound = np.bincount(self.objects.categories[~self.is_found], minlength=self.classes)
        missed = np.bincount(self.objects.categories[~reachable], minlength=self.classes)
        ap = self._ap(everything)
        mended = {
            "classification": self._ap_mended(_CLASSIFICATION),
            "localization": self._ap_mended(_LOCALIZATION),
            **{name: self._ap(self.wrong != WRONG.index(name)) for name in ("both", "duplicate", "background")},
            "missed": self._ap(everything, fewer_objects=missed),
            "false_positives": self._ap(~is_wrong),
            "false_negatives": self._ap(everything, fewer_objects=unfound),
        }
        count = {name: int((self.wrong == WRONG.index(name)).sum()) for name in mended if name in WRONG}
        count |= {"missed": int(missed.sum()), "false_positives": int(is_wrong.sum())}
        count |= {"false_negatives": int(unfound.sum())}
        # Without any object left there is nothing to measure, and nothing lost.
        cost = {name: value - ap if min(ap, value) > NOTHING_TO_MEASURE else 0.0 for name, value in mended.items()}
        return ErrorAnalysis(ap, cost, count)

    def _ap_mended(self, kind: int) -> float:
        """AP with the errors of a kind put right, the best of those that share an object; the others removed."""
        candidates = np.flatnonzero(self.wrong == kind)
        candidates = candidates[~self.is_found[self.object_of[candidates]]]
        best_first = candidates[np.argsort(-self.found.scores[candidates], kind="stable")]
        mended = best_first[np.unique(self.object_of[best_first], return_index=True)[1]]
        right, kept = self.right.copy(), self.wrong != kind
        right[mended], kept[mended] = True, True
        categories = self.found.categories.copy()
        categories[mended] = self.objects.categories[self.object_of[mended]]
        return self._ap(kept, right, categories)

    def _ap(
        self,
        kept: np.ndarray,
        right: np.ndarray | None = None,
        categories: np.ndarray | None = None,
        fewer_objects: np.ndarray | int = 0,
    ) -> float:
        """AP of the detections that are `kept`."""
        right = self.right if right is None else right
        categories = self.found.categories if categories is None else categories
        rows = np.flatnonzero(kept)
        rows = rows[np.lexsort((-self.found.scores[rows], self.found.images[rows], categories[rows]))]
        ignored = (self.wrong < 0) & ~self.right
        to_find = np.bincount(self.objects.categories, minlength=self.classes) - fewer_objects
        precision, _, _ = accumulate(
            *map(torch.from_numpy, (self.found.scores, self.found.images, categories, rows)),
            torch.from_numpy(right[rows][None].astype(np.int32)),
            torch.from_numpy(ignored[rows][None].astype(np.int32)),
            torch.from_numpy(to_find[None].astype(np.float64)),
            torch.from_numpy(self.protocol.recall_thresholds),
            [max(len(rows), 1)],
            1,
            None,
        )
        precision = precision.numpy()
        measured = precision[precision > NOTHING_TO_MEASURE]
        return float(measured.mean()) if measured.size else NOTHING_TO_MEASURE


@dataclass(frozen=True, eq=False)
class _Nearest:
    """Of each detection the object that it overlaps most, and how much; -1 and 0 without any."""

    object: np.ndarray
    iou: np.ndarray

    @classmethod
    def none(cls, count: int) -> _Nearest:
        return cls(np.full(count, -1), np.zeros(count))

    def update(self, detections: np.ndarray, objects: np.ndarray, iou: np.ndarray) -> None:
        """Take the best of some pairs, which hold all those of their detections."""
        order = np.lexsort((-iou, detections))
        first = order[np.unique(detections[order], return_index=True)[1]]
        first = first[iou[first] > 0]
        self.object[detections[first]], self.iou[detections[first]] = objects[first], iou[first]


@dataclass(frozen=True, eq=False)
class _Pairs:
    """Detections and objects of one image each, and their IoU."""

    detections: np.ndarray
    objects: np.ndarray
    iou: np.ndarray

    def select(self, chosen: np.ndarray) -> _Pairs:
        return _Pairs(self.detections[chosen], self.objects[chosen], self.iou[chosen])


def _at_one_threshold(protocol: Protocol) -> Protocol:
    return replace(protocol, iou_thresholds=np.array([FOREGROUND_IOU]), areas={"all": protocol.areas["all"]})


def _chosen(rows: Objects | Found, index: np.ndarray) -> Objects | Found:
    """Some detections or objects; the masks by `Masks.select`."""
    names = [name for name, value in vars(rows).items() if isinstance(value, np.ndarray)]
    chosen = {name: getattr(rows, name)[index] for name in names}
    return replace(rows, **chosen, masks=None if rows.masks is None else rows.masks.select(index))


def _nearest(found: Found, objects: Objects, iou_type: str) -> tuple[_Nearest, _Nearest, _Pairs]:
    """The nearest objects of the same and of another class, and the pairs of a class that may match."""
    own, other = _Nearest.none(len(found)), _Nearest.none(len(found))
    close = [_Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for pairs in _pairs(found, objects, iou_type):
        same = found.categories[pairs.detections] == objects.categories[pairs.objects]
        for nearest, chosen in ((own, same), (other, ~same)):
            some = pairs.select(chosen)
            nearest.update(some.detections, some.objects, some.iou)
        close.append(pairs.select(same & (pairs.iou >= FOREGROUND_IOU)))
    return own, other, _Pairs(*(np.concatenate([getattr(one, name) for one in close]) for name in vars(close[0])))


def _pairs(found: Found, objects: Objects, iou_type: str) -> Iterator[_Pairs]:
    """All pairs of a detection and an object of one image, those of some images at a time."""
    by_image, object_order = np.argsort(found.images, kind="stable"), np.argsort(objects.images, kind="stable")
    images = np.unique(found.images)
    begins, ends = (np.searchsorted(found.images[by_image], images, side) for side in ("left", "right"))
    first, last = (np.searchsorted(objects.images[object_order], images, side) for side in ("left", "right"))
    totals = np.cumsum((ends - begins) * (last - first))
    for chunk in np.split(np.arange(len(images)), np.flatnonzero(np.diff(totals // _PAIRS_AT_ONCE)) + 1):
        detections, partners = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for image in chunk:
            rows, columns = by_image[begins[image] : ends[image]], object_order[first[image] : last[image]]
            detections.append(np.repeat(rows, len(columns)))
            partners.append(np.tile(columns, len(rows)))
        detections, partners = np.concatenate(detections), np.concatenate(partners)
        if iou_type == "bbox":
            iou = _box_iou(found.boxes[detections], objects.boxes[partners])
        else:
            iou = _mask_iou(found, objects, detections, partners)
        yield _Pairs(detections, partners, iou)


def _box_iou(boxes: np.ndarray, others: np.ndarray) -> np.ndarray:
    """IoU ``(P,)`` of boxes ``(P, 4)`` ``x y width height``, as COCO computes it."""
    low = np.maximum(boxes[:, :2], others[:, :2])
    high = np.minimum(boxes[:, :2] + boxes[:, 2:], others[:, :2] + others[:, 2:])
    intersection = np.clip(high - low, 0, None).prod(axis=1)
    union = boxes[:, 2:].prod(axis=1) + others[:, 2:].prod(axis=1) - intersection
    return np.divide(intersection, union, out=np.zeros(len(boxes)), where=intersection > 0)


def _mask_iou(found: Found, objects: Objects, detections: np.ndarray, partners: np.ndarray) -> np.ndarray:
    """IoU ``(P,)`` of masks, image by image; the pairs of an image follow each other."""
    iou = np.zeros(len(detections))
    images = found.images[detections]
    bounds = np.flatnonzero(np.diff(images, prepend=-1, append=-1))
    for begin, end in pairwise(bounds):
        rows, columns = detections[begin:end], partners[begin:end]
        columns = columns[: np.searchsorted(np.cumsum(rows != rows[0]), 1)]
        masks = (_run_lengths(found.masks, rows[:: len(columns)]), _run_lengths(objects.masks, columns))
        iou[begin:end] = mask_iou(*masks).numpy().ravel()
    return iou


def _run_lengths(masks: Masks, index: np.ndarray) -> RunLengths:
    return RunLengths.from_coco([masks.encoded(one) for one in index])


def _assigned(found: Found, right: np.ndarray, close: _Pairs) -> np.ndarray:
    """int64 ``(M,)`` the object that each right detection found; -1 for the others.

    As COCO has it, the best detection of an image and class takes its nearest object first, then the second best one
    takes what is left, and so on; of objects that are equally near the last.
    """
    assigned = np.full(len(right), -1)
    close = close.select(right[close.detections])
    group = np.stack((found.categories, found.images), axis=1)
    is_new = np.any(np.diff(group, axis=0, prepend=-1), axis=1)
    rank = np.arange(len(group)) - np.maximum.accumulate(np.where(is_new, np.arange(len(group)), 0))
    is_free = np.ones(close.objects.max(initial=-1) + 1, dtype=bool)
    for turn in np.unique(rank[close.detections]):
        some = close.select((rank[close.detections] == turn) & is_free[close.objects])
        order = np.lexsort((-some.objects, -some.iou, some.detections))
        first = order[np.unique(some.detections[order], return_index=True)[1]]
        assigned[some.detections[first]] = some.objects[first]
        is_free[some.objects[first]] = False
    return assigned
