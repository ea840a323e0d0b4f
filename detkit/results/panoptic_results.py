"""Panoptic maps in COCO's panoptic format."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from detkit.coco_files import Segment, ids_to_colors, segment_entries
from detkit.structures import Category, PanopticMap
from detkit.structures.categories import to_coco
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


def panoptic_content(
    entries: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, str]], categories: Sequence[Category]
) -> dict[str, Any]:
    """The content of a panoptic JSON file, as COCO's panopticapi reads it.

    Args:
        entries: of each image its ``image_id``, ``file_name``, ``height``, ``width``, ``segments_info`` and, of a
            video, ``frame``.
        files: of each image, the names of its files by their endings; without ``panoptic.png`` its annotation has no
            ``file_name``.
        categories: the class of each label.
    """
    images, annotations = [], []
    for entry, names in zip(entries, files, strict=True):
        kept = ("file_name", "height", "width", "frame")
        images.append({"id": entry["image_id"]} | {key: entry[key] for key in kept if key in entry})
        png = {"file_name": names["panoptic.png"]} if "panoptic.png" in names else {}
        annotations.append({"image_id": entry["image_id"], **png, "segments_info": entry["segments_info"]})
    listed = [{"isthing": int(one.is_thing), **to_coco(one)} for one in categories]
    return {"images": images, "annotations": annotations, "categories": listed}
