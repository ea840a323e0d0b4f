"""The segments of an image matched with those of an answer.

Kirillov et al., "Panoptic Segmentation", CVPR 2019, section 4.1, with the rules of COCO's panopticapi for void and
crowds.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from detkit.structures.image_fields import INSTANCES

_LEAST_IOU = 0.5
"""Above it a segment overlaps at most one of the other map, so that no assignment is needed."""

_MOST_IGNORED = 0.5
"""The share of an answer's segment in void and crowds above which it is no false positive."""


@dataclass(frozen=True, eq=False)
class Segments:
    """The segments of a map.

    Args:
        rows: int64 ``(P,)`` the segment of each pair of numbers that meet.
        classes: int64 ``(S,)`` the class of each segment; -1 for void.
        areas: int64 ``(S,)`` its pixels.
    """

    rows: np.ndarray
    classes: np.ndarray
    areas: np.ndarray

    def sums(self, pixels: np.ndarray) -> np.ndarray:
        """int64 ``(S,)`` the sum over the pairs of each segment."""
        total = np.zeros(len(self.classes), dtype=np.int64)
        np.add.at(total, self.rows, pixels)
        return total


@dataclass(frozen=True, eq=False)
class ImageSegments:
    """What is kept of an image.

    Args:
        classes: int64 ``(C,)`` those of its truth and of its answer, sorted.
        iou: float64 ``(C,)`` the sum of the IoUs of matched segments of each.
        counts: int64 ``(C, 3)`` true positives, false positives and false negatives of each.
        truth: int64 ``(S, 3)`` class, pixels, and whether it is a crowd, of each segment of the truth.
    """

    classes: np.ndarray
    iou: np.ndarray
    counts: np.ndarray
    truth: np.ndarray


def segments_of(numbers: np.ndarray, pixels: np.ndarray, class_of_label: np.ndarray) -> tuple[Segments, np.ndarray]:
    """The segments of one map, and their numbers.

    Args:
        numbers: int32 ``(P,)`` ``label * 65536 + instance`` of each pair, -1 for void.
        pixels: int64 ``(P,)`` those of each pair.
        class_of_label: int64 ``(K,)``, -1 for labels that are void.
    """
    own, rows = np.unique(numbers, return_inverse=True)
    classes = np.append(class_of_label, -1)[own // INSTANCES]  # void's label is -1, the last one
    areas = np.zeros(len(own), dtype=np.int64)
    np.add.at(areas, rows, pixels)
    return Segments(rows, classes, areas), own


def match_segments(
    pairs: np.ndarray, pixels: np.ndarray, is_thing: np.ndarray, class_of_label: np.ndarray
) -> ImageSegments:
    """Match the segments of one image.

    Args:
        pairs: int32 ``(P, 2)`` the numbers that meet; in the truth, instance 0 of a thing is a crowd.
        pixels: int64 ``(P,)`` those of each pair.
        is_thing: bool ``(T,)`` of each class.
        class_of_label: int64 ``(K,)`` of each label of the answer; -1: such pixels have no answer.
    """
    truth, own = segments_of(pairs[:, 0], pixels, np.arange(len(is_thing)))
    answer, _ = segments_of(pairs[:, 1], pixels, class_of_label)
    is_crowd = (truth.classes >= 0) & np.append(is_thing, False)[truth.classes] & (own % INSTANCES == 0)
    pair_class, answer_class = truth.classes[truth.rows], answer.classes[answer.rows]
    is_void = pair_class < 0
    void = answer.sums(np.where(is_void, pixels, 0))

    same = np.flatnonzero(~is_void & ~is_crowd[truth.rows] & (pair_class == answer_class))
    of_truth, of_answer, common = truth.rows[same], answer.rows[same], pixels[same]
    iou = common / (truth.areas[of_truth] + answer.areas[of_answer] - common - void[of_answer])
    is_match = iou > _LEAST_IOU
    matched, matched_answers = np.zeros(len(truth.areas), dtype=bool), np.zeros(len(answer.areas), dtype=bool)
    matched[of_truth[is_match]] = matched_answers[of_answer[is_match]] = True

    in_crowd = is_crowd[truth.rows] & (pair_class == answer_class)
    ignored = void + answer.sums(np.where(in_crowd, pixels, 0))
    missed = (truth.classes >= 0) & ~is_crowd & ~matched
    wrong = (answer.classes >= 0) & ~matched_answers & (ignored <= _MOST_IGNORED * answer.areas)
    right_classes = pair_class[same[is_match]]
    per_class = [right_classes, answer.classes[wrong], truth.classes[missed]]
    classes = np.unique(np.concatenate(per_class))
    counts = np.zeros((len(classes), 3), dtype=np.int64)
    for column, found in enumerate(per_class):
        np.add.at(counts[:, column], np.searchsorted(classes, found), 1)
    sums = np.zeros(len(classes))
    np.add.at(sums, np.searchsorted(classes, right_classes), iou[is_match])
    real = np.flatnonzero(truth.classes >= 0)
    described = np.stack([truth.classes[real], truth.areas[real], is_crowd[real].astype(np.int64)], axis=1)
    return ImageSegments(classes, sums, counts, described)
