"""The images of a COCO file: their ids and sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from detkit.coco_files.entry_lists import EntryList, Id
from detkit.errors import InputError

MOST_PIXELS = 2**31
"""Masks of images with so many pixels cannot be numbered by 32 bits."""

LONGEST_SIDE = 2**20
"""No program reads longer images, and a polygon takes time and memory for each column that it crosses."""


@dataclass(frozen=True, eq=False)
class ListedImages:
    """The n images of a file.

    Args:
        listed: their entries.
        ids: all integers or all strings, none of them twice.
        sizes: int64 ``(n, 2)`` the stated height and width in pixels; 0, 0 where the file does not state both.
    """

    listed: EntryList
    ids: list[Id]
    sizes: np.ndarray

    @cached_property
    def positions(self) -> dict[Id, int]:
        """The position of each id."""
        return {one: position for position, one in enumerate(self.ids)}


def read_images(entries: Sequence[dict[str, Any]], source: str, start: int = 0) -> ListedImages:
    """Read and check the list `images` of a COCO file, or a part of it from the entry `start` on.

    Raises:
        InputError: it is empty, or an id or a size is wrong.
    """
    if not entries:
        raise InputError(f"{source}: the list 'images' is empty, so there is nothing to train on or to evaluate")
    listed = EntryList(entries, "image", source, start=start)
    ids = listed.ids("id")
    kinds = sorted({type(one).__name__ for one in ids})
    if len(kinds) > 1:
        raise InputError(f"{source}: image ids must be all integers or all strings, found {kinds}")
    listed.check_unique(ids)
    sides = np.stack((listed.numbers("height"), listed.numbers("width")), axis=1)
    wrong = wrong_sizes(sides)
    if len(wrong):
        height, width = (entries[wrong[0]][key] for key in ("height", "width"))
        listed.fail(
            int(wrong[0]),
            f"has width {width!r} and height {height!r}, not whole pixels of an image below 2^31 pixels, with at most "
            "2^20 along a side",
        )
    return ListedImages(listed, ids, stated_sizes(sides))


def wrong_sizes(sides: np.ndarray) -> np.ndarray:
    """The rows of ``(n, 2)`` heights and widths that are no size of an image; 0 and NaN are not stated."""
    is_stated = np.nan_to_num(sides).all(axis=1)
    are_sides = ((sides > 0) & (sides <= LONGEST_SIDE) & (sides == np.floor(sides))).all(axis=1)
    is_size = are_sides & (sides.prod(axis=1) < MOST_PIXELS)
    return np.flatnonzero(is_stated & ~is_size)


def stated_sizes(sides: np.ndarray) -> np.ndarray:
    """int64 ``(n, 2)`` the sizes; 0, 0 where not both sides are stated."""
    sizes: np.ndarray = np.nan_to_num(sides).astype(np.int64)
    sizes[~sizes.all(axis=1)] = 0
    return sizes
