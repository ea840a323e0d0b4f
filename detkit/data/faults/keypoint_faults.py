"""Faults of keypoints: other numbers of them, outside of the image, outside of the box."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np

from detkit.data.faults.box_faults import at_objects
from detkit.data.faults.problem import Problem, counted
from detkit.data.faults.written_split import WrittenSplit
from detkit.files.json_values import is_finite_numbers

_MARGIN = 1.0  # longer sides of a box that keypoints may be outside of it: the rest of an object may be hidden


def keypoint_problems(split: WrittenSplit) -> list[Problem]:
    """The faults of the keypoints of a split."""
    if all(one is None for one in split.keypoints):
        return []
    rows, points = annotated_keypoints(split)
    return [*_wrong(split, rows), *_outside(split, rows, points), *_outside_of_boxes(split, rows, points)]


def annotated_keypoints(split: WrittenSplit) -> tuple[np.ndarray, np.ndarray]:
    """The objects with keypoints, int64 ``(k,)``, and these, ``x y visibility`` float64 ``(k, J, 3)``.

    J is the number of the keypoint names or, without names, that of most objects; other objects are left out.
    """
    lengths = Counter(len(one) for one in split.keypoints if isinstance(one, (list, tuple)) and len(one) % 3 == 0)
    length = 3 * len(split.keypoint_names) or (lengths.most_common(1)[0][0] if lengths else 0)
    rows = [
        row
        for row, one in enumerate(split.keypoints)
        if isinstance(one, (list, tuple)) and len(one) == length and is_finite_numbers(one)
    ]
    points = np.array([split.keypoints[row] for row in rows], dtype=np.float64).reshape(len(rows), -1, 3)
    return np.array(rows, dtype=np.int64), points


def _wrong(split: WrittenSplit, sound: np.ndarray) -> Iterator[Problem]:
    annotated = [row for row, one in enumerate(split.keypoints) if one is not None]
    rows = np.setdiff1d(np.array(annotated, dtype=np.int64), sound)
    yield from at_objects(
        split,
        rows,
        "wrong_keypoints",
        "error",
        f"{counted(len(rows), 'object has', 'objects have')} a wrong number of keypoints, or values other than numbers",
        "give x, y and visibility of each keypoint of the category, zeros for those that are not labeled",
    )


def _outside(split: WrittenSplit, rows: np.ndarray, points: np.ndarray) -> Iterator[Problem]:
    sizes = split.object_sizes[rows][:, None, ::-1]
    is_outside = ((points[..., :2] < -1) | (points[..., :2] > sizes + 1)).any(axis=2) & (points[..., 2] > 0)
    found = rows[is_outside.any(axis=1) & sizes.all(axis=(1, 2))]
    yield from at_objects(
        split,
        found,
        "keypoints_outside_image",
        "warning",
        f"{counted(len(found), 'object has', 'objects have')} keypoints outside of the image",
        "correct them, or set their visibility to 0; check whether x and y are swapped",
    )


def _outside_of_boxes(split: WrittenSplit, rows: np.ndarray, points: np.ndarray) -> Iterator[Problem]:
    """Objects with all of their keypoints there: single ones may belong to parts that are hidden."""
    boxes = split.boxes[rows]
    margin = (_MARGIN * boxes[:, 2:].max(axis=1, initial=0))[:, None, None]
    low, high = boxes[:, None, :2] - margin, (boxes[:, :2] + boxes[:, 2:])[:, None] + margin
    is_labeled = points[..., 2] > 0
    is_outside = ((points[..., :2] < low) | (points[..., :2] > high)).any(axis=2) & is_labeled
    found = rows[(is_outside == is_labeled).all(axis=1) & is_labeled.any(axis=1) & ~split.iscrowd[rows]]
    yield from at_objects(
        split,
        found,
        "keypoints_outside_box",
        "warning",
        f"{counted(len(found), 'object has', 'objects have')} all keypoints far outside of the box",
        "a keypoint head sees the box alone: correct the keypoints or the box, or check the order of x and y",
    )
