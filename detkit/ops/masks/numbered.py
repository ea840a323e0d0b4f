"""Run lengths and boxes of the objects of a map in which each pixel has the number of its object."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from detkit.ops.masks.run_lengths import RunLengths


def numbered_to_rle(numbers: np.ndarray, count: int) -> RunLengths:
    """The masks of objects that do not overlap, as `masks_to_rle` encodes them, without a mask of pixels for each.

    Args:
        numbers: ``(H, W)`` of integers, the number of the object of each pixel, from 1; 0 for none.
        count: of the objects; the last ones may have no pixels.
    """
    flat = numbers.T.ravel()
    pixels = np.flatnonzero(flat)
    objects = flat[pixels] - 1
    order = np.argsort(objects, kind="stable")
    pixels, objects = pixels[order], objects[order]
    begins = np.flatnonzero(np.diff(pixels, prepend=-2) - 1 | np.diff(objects, prepend=-1))
    ends = np.append(begins, len(pixels))[1:] - 1
    runs_of = objects[begins]
    runs = np.bincount(runs_of, minlength=count)
    offsets = np.append(0, np.cumsum(2 * runs + 1))
    # Of each object, where its runs begin and end in turn, and the end of the image.
    bounds = np.full(offsets[-1], flat.size, dtype=np.int64)
    number = np.arange(len(begins)) - np.append(0, np.cumsum(runs))[runs_of]  # of the run in its object
    bounds[offsets[runs_of] + 2 * number] = pixels[begins]
    bounds[offsets[runs_of] + 2 * number + 1] = pixels[ends] + 1
    before = np.append(0, bounds[:-1])
    before[offsets[:-1]] = 0
    counts = bounds - before
    has_rest = counts[offsets[1:] - 1] > 0
    has_rest |= runs == 0
    kept = np.ones(len(counts), dtype=bool)
    kept[offsets[1:] - 1] = has_rest
    lengths = 2 * runs + has_rest
    packed = torch.from_numpy(counts[kept].astype(np.int32))
    return RunLengths(packed, torch.from_numpy(np.append(0, np.cumsum(lengths))), *numbers.shape)


def numbered_boxes(numbers: np.ndarray, count: int) -> Tensor:
    """float32 ``(count, 4)``, the smallest box ``x1 y1 x2 y2`` around each of the objects ``1..count``.

    Unlike `RunLengths.boxes`, it is exact for objects that touch the lower edge of one column and the upper one of the
    next.

    Args:
        numbers: ``(H, W)`` of integers, the number of the object of each pixel; 0 for none.
        count: of the objects, each of which has pixels.
    """
    found = ndimage.find_objects(numbers, max_label=count) if count else []
    sides = [(columns.start, rows.start, columns.stop, rows.stop) for rows, columns in found]
    return torch.tensor(sides, dtype=torch.float32).view(-1, 4)
