"""Faults of masks: none where there should be one, polygons without area or that cross themselves, other boxes."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from detkit.coco_files.segmentations import check_segmentation, encode_segmentation
from detkit.data.faults.box_faults import at_objects
from detkit.data.faults.problem import MOST_EXAMPLES, Problem, counted
from detkit.data.faults.written_split import WrittenSplit
from detkit.errors import InputError
from detkit.ops import RunLengths

_LEAST_DIFFERENCE = 3.0  # pixels by which a box may differ from its mask's
_DIFFERENCE = 0.1  # and the share of its longer side
_MOST_CORNERS = 500  # of polygons that are checked for crossings


def mask_problems(split: WrittenSplit) -> list[Problem]:
    """The faults of the masks of a split."""
    rows = np.array([row for row, one in enumerate(split.segmentations) if one is not None], dtype=np.int64)
    if not len(rows):
        return []
    wrong, messages, extents = _extents(split, rows)
    sound = np.setdiff1d(rows, np.array(wrong, dtype=np.int64))
    return [
        *_wrong(split, wrong, messages),
        *_slivers(split, sound),
        *_crossing(split, sound),
        *_other_boxes(split, extents),
        *_without_mask(split),
    ]


def _wrong(split: WrittenSplit, rows: list[int], messages: list[str]) -> Iterator[Problem]:
    if rows:
        yield Problem(
            "wrong_masks",
            "error",
            split.name,
            len(rows),
            f"{counted(len(rows), 'mask', 'masks')} cannot be read",
            "correct them, or leave them out",
            [f"{split.place(row)}: {text}" for row, text in zip(rows[:MOST_EXAMPLES], messages, strict=False)],
        )


def _extents(split: WrittenSplit, rows: np.ndarray) -> tuple[list[int], list[str], np.ndarray]:
    """The objects whose mask cannot be read, why, and the corners of all others' masks ``(m, 4)``, NaN elsewhere."""
    wrong: list[int] = []
    messages: list[str] = []
    extents = np.full((len(split.boxes), 4), np.nan)
    encoded: dict[tuple[int, int], list[tuple[int, dict[str, Any]]]] = {}
    for row in rows.tolist():
        size = tuple(split.object_sizes[row].tolist())
        try:
            mask = check_segmentation(split.segmentations[row])
            if isinstance(mask, list):
                corners = np.concatenate([np.reshape(ring, (-1, 2)) for ring in mask])
                extents[row] = [*corners.min(axis=0), *corners.max(axis=0)]
            elif mask is not None:
                single = encode_segmentation(mask, (size[0], size[1]) if all(size) else None)
                encoded.setdefault(tuple(single["size"]), []).append((row, single))
        except InputError as error:
            wrong.append(row)
            messages.append(str(error))
    for group in encoded.values():
        masks = RunLengths.from_coco([mask for _, mask in group])
        extents[[row for row, _ in group]] = masks.boxes().numpy()
    extents[(extents[:, 2:] <= extents[:, :2]).any(axis=1)] = np.nan
    return wrong, messages, extents


def _slivers(split: WrittenSplit, rows: np.ndarray) -> Iterator[Problem]:
    found = np.array([row for row in rows.tolist() if _has_sliver(split.segmentations[row])], dtype=np.int64)
    yield from at_objects(
        split,
        found,
        "polygons_without_area",
        "warning",
        f"{counted(len(found), 'mask has a polygon', 'masks have polygons')} of fewer than three points",
        "such polygons are left out: draw them again, or remove them",
    )


def _has_sliver(segmentation: Any) -> bool:
    rings = segmentation if isinstance(segmentation, list) else []
    return any(isinstance(ring, (list, tuple)) and len(ring) < 6 for ring in rings)


def _crossing(split: WrittenSplit, rows: np.ndarray) -> Iterator[Problem]:
    found = np.array([row for row in rows.tolist() if _has_crossing(split.segmentations[row])], dtype=np.int64)
    yield from at_objects(
        split,
        found,
        "crossing_polygons",
        "warning",
        f"{counted(len(found), 'mask has a polygon that crosses itself', 'masks have polygons that cross themselves')}",
        "programs fill them differently; draw their points in order along the outline",
    )


def _has_crossing(segmentation: Any) -> bool:
    if not isinstance(segmentation, list):
        return False
    rings = [ring for ring in segmentation if isinstance(ring, (list, tuple)) and 8 <= len(ring) <= 2 * _MOST_CORNERS]
    return any(map(crosses_itself, rings))


def crosses_itself(polygon: Sequence[float]) -> bool:
    """Whether two sides of a polygon ``x1 y1 x2 y2 …`` cross in a point that is inside of both."""
    points = np.array(polygon, dtype=np.float64).reshape(-1, 2)
    points = points[(points != np.roll(points, 1, axis=0)).any(axis=1)]  # without sides of no length
    begin, end = points, np.roll(points, -1, axis=0)
    sides = end - begin

    def turns(to: np.ndarray) -> np.ndarray:
        """Of each side, to which hand each point lies, ``(sides, points)``."""
        apart = to[None] - begin[:, None]
        cross = sides[:, None, 0] * apart[..., 1] - sides[:, None, 1] * apart[..., 0]
        span = np.abs(sides).max(axis=1, initial=0)[:, None] * np.abs(apart).max(axis=2)
        return np.where(np.abs(cross) > 1e-9 * span, np.sign(cross), 0)  # rounding is no crossing

    opposite = turns(begin) * turns(end) < 0
    return bool((opposite & opposite.T).any())


def _other_boxes(split: WrittenSplit, extents: np.ndarray) -> Iterator[Problem]:
    corners = np.concatenate([split.boxes[:, :2], split.boxes[:, :2] + split.boxes[:, 2:]], axis=1)
    allowed = np.maximum(_LEAST_DIFFERENCE, _DIFFERENCE * split.boxes[:, 2:].max(axis=1, initial=0))
    differs = np.abs(extents - corners).max(axis=1, initial=0) > allowed  # not where there is none
    rows = np.flatnonzero(differs & ~split.iscrowd)
    yield from at_objects(
        split,
        rows,
        "box_and_mask_differ",
        "warning",
        f"{counted(len(rows), 'box differs', 'boxes differ')} from the box around the mask by over 10 % and 3 pixels",
        "one of them is wrong: leave out bbox, which is then taken from the mask, or correct the mask",
    )


def _without_mask(split: WrittenSplit) -> Iterator[Problem]:
    rows = np.array([row for row, one in enumerate(split.segmentations) if one is None], dtype=np.int64)
    yield from at_objects(
        split,
        rows[~split.iscrowd[rows]],
        "objects_without_mask",
        "note",
        f"{counted(len(rows), 'object has', 'objects have')} no mask, though others have",
        "a model that predicts masks learns the filled box as their mask; draw them",
    )
