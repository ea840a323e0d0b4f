"""Pairs of detections of two answers: equal ones, then by class and place, by place alone, by class and score alone.

N  detections of one answer     M  of the other
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from detkit.ops import box_iou
from detkit.structures import Detections

SAME_IOU, LEAST_IOU = 0.9, 0.5
SAME_SCORE = 2e-3


class Pairs(NamedTuple):
    """Rows of detections that are one and the same in both answers.

    Args:
        same: ``(P, 2)`` of equal class, whose boxes overlap.
        relabeled: ``(P, 2)`` of other classes, with the same box and score.
        moved: ``(P, 2)`` of equal class and score, whose boxes do not overlap.
        expected: rows of the first answer without a partner.
        given: rows of the second.
    """

    same: np.ndarray
    relabeled: np.ndarray
    moved: np.ndarray
    expected: np.ndarray
    given: np.ndarray


def pair_detections(expected: Detections, given: Detections, same_score: float = SAME_SCORE) -> Pairs:
    """Pair the detections of two answers to one image.

    Args:
        expected: one answer.
        given: the other.
        same_score: scores that differ by less can be those of one detection whose box or class has changed.
    """
    ious = box_iou(expected.boxes.double(), given.boxes.double()).numpy()
    apart = np.abs(expected.scores.double().numpy()[:, None] - given.scores.double().numpy()[None])
    apart = np.where(np.isfinite(apart), apart, 2.0)
    equal = expected.labels.numpy()[:, None] == given.labels.numpy()[None]
    rows, columns = np.arange(len(expected)), np.arange(len(given))
    near = apart < same_score
    pairs: list[np.ndarray] = []
    for allowed, worth in (
        (near & (ious >= SAME_IOU), 1 + ious + equal),
        (equal & (ious >= LEAST_IOU), 1 + ious - apart),
        (near & (ious >= LEAST_IOU), 1 + ious),
        (near & equal, 1 - apart),
    ):
        part = np.where(allowed, worth, 0)[np.ix_(rows, columns)]
        first, second = linear_sum_assignment(part, maximize=True)
        found = part[first, second] > 0
        pairs.append(np.stack([rows[first[found]], columns[second[found]]], axis=1))
        rows, columns = np.delete(rows, first[found]), np.delete(columns, second[found])
    exact, same, other, moved = pairs
    keeps = equal[exact[:, 0], exact[:, 1]]
    return Pairs(np.concatenate([exact[keeps], same]), np.concatenate([exact[~keeps], other]), moved, rows, columns)
