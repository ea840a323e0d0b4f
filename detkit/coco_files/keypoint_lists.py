"""The keypoints of annotations."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detkit.coco_files.entry_lists import LARGEST, EntryList
from detkit.files.json_values import is_finite_numbers


def read_keypoints(listed: EntryList, count: int | None = None) -> list[Sequence[float]]:
    """The ``keypoints`` of annotations: ``x y visibility`` of each keypoint in one list; empty where there are none.

    Args:
        listed: the annotations.
        count: the number of keypoints that an object must have; None: any.

    Raises:
        InputError: they are something else.
    """
    several = [[] if one is None else one for one in listed.values("keypoints")]
    for row, values in enumerate(several):
        is_list = isinstance(values, list) and not values
        if is_list or (
            is_finite_numbers(values, None if count is None else 3 * count)
            and len(values) % 3 == 0
            and max(map(abs, values), default=0) <= LARGEST
        ):
            continue
        number = "" if count is None else f"{3 * count} "
        listed.fail(row, f"has keypoints that are not {number}finite numbers, x, y, visibility of each; correct them")
    return several


def stated_numbers_of_keypoints(listed: EntryList) -> np.ndarray:
    """float64 ``(N,)`` the ``num_keypoints`` of annotations; NaN where it is missing or null.

    Raises:
        InputError: one is negative or not whole.
    """
    stated = listed.numbers("num_keypoints")
    for row in np.flatnonzero((stated < 0) | (stated != np.floor(stated)) & ~np.isnan(stated))[:1].tolist():
        listed.fail(row, f"has num_keypoints {stated[row]:g}; it must be a number of keypoints")
    return stated
