"""The label maps and panoptic maps of the `Shapes`, which show every pixel as it is drawn."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from detkit.coco_files import Segment, ids_to_colors, segment_entries
from detkit.data.shapes.backgrounds import stuff_color
from detkit.data.shapes.options import SHAPE_NAMES
from detkit.data.shapes.scene import Scene
from detkit.files import write_into
from detkit.structures.categories import Category

_FIRST_STUFF = len(SHAPE_NAMES) + 1


def stuff_categories(names: Sequence[str]) -> list[Category]:
    """The categories of the stuff classes; their ids follow those of all shapes."""
    return [
        Category(_FIRST_STUFF + number, name, is_thing=False, color=stuff_color(number))
        for number, name in enumerate(names)
    ]


def write_maps(work: Path, split: str, name: str, scene: Scene) -> dict[str, Any]:
    """Write the PNGs of both maps of an image.

    Returns:
        The entry of the image in the panoptic file, without its id.
    """
    category_ids, segment_ids, segments = _painted(scene)
    _, label_map = cv2.imencode(".png", category_ids)
    _, colors = cv2.imencode(".png", cv2.cvtColor(ids_to_colors(segment_ids), cv2.COLOR_RGB2BGR))
    write_into(work, f"labels/{split}/{name}", label_map.tobytes())
    write_into(work, f"annotations/panoptic_{split}/{name}", colors.tobytes())
    return {"file_name": name, "segments_info": segment_entries(segment_ids, segments)}


def _painted(scene: Scene) -> tuple[np.ndarray, np.ndarray, list[Segment]]:
    """The category ids ``(H, W)`` uint8, the segment ids ``(H, W)``, and all segments: the objects first."""
    category_ids = (scene.stuff + _FIRST_STUFF).astype(np.uint8)
    segment_ids = scene.stuff + len(scene.objects) + 1
    segments = []
    for number, (one, visible) in enumerate(zip(scene.objects, scene.visible, strict=True), start=1):
        category_ids[visible] = one["category_id"]
        segment_ids[visible] = number
        segments.append(Segment(number, one["category_id"], bool(one["iscrowd"])))
    for number in np.unique(scene.stuff).tolist():
        segments.append(Segment(len(scene.objects) + 1 + number, _FIRST_STUFF + number))
    return category_ids, segment_ids, segments
