"""Assignment of detections to objects: the nearest one, and the one that a correct detection was matched to.

COCO's matching (`detkit.evaluation.coco.native_backend`) says whether a detection matches an object, not which one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from detkit.evaluation.packed_objects import PackedDetections, PackedObjects
from detkit.evaluation.pair_iou import pair_box_iou, pair_mask_iou

_PAIRS_PER_CHUNK = 2**22


@dataclass(frozen=True, eq=False)
class Nearest:
    """The object that each detection overlaps most, and their IoU; -1 and 0 without any."""

    object: np.ndarray
    iou: np.ndarray

    @classmethod
    def none(cls, count: int) -> Nearest:
        """`count` detections without an object."""
        return cls(np.full(count, -1), np.zeros(count))

    def update(self, pairs: Pairs) -> None:
        """Take the best object of each detection in `pairs`, which hold all pairs of that detection."""
        order = np.lexsort((-pairs.iou, pairs.detections))
        first = order[np.unique(pairs.detections[order], return_index=True)[1]]
        first = first[pairs.iou[first] > 0]
        self.object[pairs.detections[first]] = pairs.objects[first]
        self.iou[pairs.detections[first]] = pairs.iou[first]


@dataclass(frozen=True, eq=False)
class Pairs:
    """P pairs of a detection and an object of the same image, by index, and their IoU; ``(P,)`` each."""

    detections: np.ndarray
    objects: np.ndarray
    iou: np.ndarray

    def select(self, index: np.ndarray) -> Pairs:
        """The pairs at `index`, a mask or int64."""
        return Pairs(self.detections[index], self.objects[index], self.iou[index])


def nearest_objects(
    detections: PackedDetections, objects: PackedObjects, iou_type: str, match_iou: float
) -> tuple[Nearest, Nearest, Pairs]:
    """The nearest objects of the same class, those of other classes, and the pairs of one class that may match.

    Args:
        detections: M detections.
        objects: G objects.
        iou_type: ``bbox`` or ``segm``.
        match_iou: the least IoU of a pair that may match.
    """
    same_class, other_class = Nearest.none(len(detections)), Nearest.none(len(detections))
    close = [Pairs(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0))]
    for pairs in pairs_by_image(detections, objects, iou_type):
        is_same = detections.categories[pairs.detections] == objects.categories[pairs.objects]
        same_class.update(pairs.select(is_same))
        other_class.update(pairs.select(~is_same))
        close.append(pairs.select(is_same & (pairs.iou >= match_iou)))
    joined = Pairs(*(np.concatenate([getattr(one, name) for one in close]) for name in vars(close[0])))
    return same_class, other_class, joined


def pairs_by_image(detections: PackedDetections, objects: PackedObjects, iou_type: str) -> Iterator[Pairs]:
    """All pairs of a detection and an object of one image, in chunks of some images."""
    detection_order = np.argsort(detections.images, kind="stable")
    object_order = np.argsort(objects.images, kind="stable")
    images = np.unique(detections.images)
    begins, ends = (np.searchsorted(detections.images[detection_order], images, side) for side in ("left", "right"))
    first, last = (np.searchsorted(objects.images[object_order], images, side) for side in ("left", "right"))
    totals = np.cumsum((ends - begins) * (last - first))
    for chunk in np.split(np.arange(len(images)), np.flatnonzero(np.diff(totals // _PAIRS_PER_CHUNK)) + 1):
        detection_parts, object_parts = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for image in chunk:
            rows = detection_order[begins[image] : ends[image]]
            columns = object_order[first[image] : last[image]]
            detection_parts.append(np.repeat(rows, len(columns)))
            object_parts.append(np.tile(columns, len(rows)))
        detection_index, object_index = np.concatenate(detection_parts), np.concatenate(object_parts)
        if iou_type == "bbox":
            iou = pair_box_iou(detections.boxes[detection_index], objects.boxes[object_index])
        else:
            iou = pair_mask_iou(detections, objects, detection_index, object_index)
        yield Pairs(detection_index, object_index, iou)


def assign_matches(detections: PackedDetections, is_correct: np.ndarray, close: Pairs) -> np.ndarray:
    """int64 ``(M,)`` the object that each correct detection was matched to; -1 for the others.

    As in COCO, the highest-scoring detection of an image and class takes its nearest object first, then the second one
    takes the nearest of what is left, and so on; of equally near objects the last.

    Args:
        detections: M detections, by category, by image, best first.
        is_correct: bool ``(M,)`` which of them were matched.
        close: the pairs that may match, from `nearest_objects`.
    """
    assigned = np.full(len(is_correct), -1)
    close = close.select(is_correct[close.detections])
    group = np.stack((detections.categories, detections.images), axis=1)
    is_new = np.any(np.diff(group, axis=0, prepend=-1), axis=1)
    rank = np.arange(len(group)) - np.maximum.accumulate(np.where(is_new, np.arange(len(group)), 0))
    is_free = np.ones(close.objects.max(initial=-1) + 1, dtype=bool)
    for one_rank in np.unique(rank[close.detections]):
        some = close.select((rank[close.detections] == one_rank) & is_free[close.objects])
        order = np.lexsort((-some.objects, -some.iou, some.detections))
        first = order[np.unique(some.detections[order], return_index=True)[1]]
        assigned[some.detections[first]] = some.objects[first]
        is_free[some.objects[first]] = False
    return assigned
