"""Panoptic maps in COCO's panoptic format."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detkit.coco_files import Segment, ids_to_colors, segment_entries
from detkit.structures import Category, PanopticMap
from detkit.visualization.image_files import encoded_image


def panoptic_png(answer: PanopticMap, categories: Sequence[Category]) -> bytes:
    """The PNG of COCO's panoptic format, whose colors are ids of segments; pixels without one are black."""
    return encoded_image(to_coco_panoptic(answer, categories)[1], ".png")


def to_coco_panoptic(
    answer: PanopticMap, categories: Sequence[Category] | None = None
) -> tuple[list[dict[str, Any]], np.ndarray]:
    """See `PanopticMap.to_coco`; with `categories` in place of those that it knows."""
    segments = answer.segments()
    if categories is None:
        answer.known_categories()
        categories = answer.categories or ()
    values = answer.panoptic_map.cpu().numpy()
    known = np.array([one.value for one in segments], dtype=np.int64)
    order = np.argsort(known)
    ids = np.zeros(values.shape, dtype=np.int32)
    if len(known):
        ids[values >= 0] = order[np.searchsorted(known[order], values[values >= 0])] + 1
    entries = segment_entries(
        ids, [Segment(number, categories[one.label].id) for number, one in enumerate(segments, start=1)]
    )
    for entry, one in zip(entries, segments, strict=True):
        if one.score is not None:
            entry["score"] = one.score
    return entries, ids_to_colors(ids)
