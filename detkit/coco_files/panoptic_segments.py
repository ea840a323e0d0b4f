"""COCO's panoptic format: PNGs whose colors are ids of segments, and the entries that describe these.

Kirillov et al., "Panoptic Segmentation", 2019; the id of a color is ``R + 256 G + 65536 B``, 0 is void.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import ndimage

from detkit.coco_files.coco_content import read_coco_file
from detkit.errors import InputError
from detkit.files.json_values import shown

_MOST_SEGMENTS = 2**24


@dataclass(frozen=True)
class Segment:
    """A segment of an image.

    Args:
        id: in the image's PNG.
        category_id: its class.
        is_crowd: whether it is several objects that are not told apart.
    """

    id: int
    category_id: int
    is_crowd: bool = False


def colors_to_ids(colors: np.ndarray) -> np.ndarray:
    """The ids ``(H, W)`` int32 of RGB colors ``(H, W, 3)`` uint8."""
    parts = colors.astype(np.int32)
    ids: np.ndarray = parts[..., 0] + 256 * parts[..., 1] + 65536 * parts[..., 2]
    return ids


def ids_to_colors(ids: np.ndarray) -> np.ndarray:
    """RGB colors ``(H, W, 3)`` uint8 of ids ``(H, W)``, the reverse of `colors_to_ids`."""
    return np.stack((ids % 256, ids // 256 % 256, ids // 65536), axis=-1).astype(np.uint8)


def segment_entries(ids: np.ndarray, segments: Sequence[Segment]) -> list[dict[str, Any]]:
    """The ``segments_info`` of an image: area and box of each segment that has pixels.

    Args:
        ids: ``(H, W)``, the segment of each pixel.
        segments: with the ids in it.
    """
    numbers = {segment.id: number for number, segment in enumerate(segments, start=1)}
    present, inverse = np.unique(ids, return_inverse=True)
    dense = np.array([numbers.get(one, 0) for one in present.tolist()], dtype=np.int32)[inverse.reshape(ids.shape)]
    areas = np.bincount(dense.ravel(), minlength=len(segments) + 1)
    boxes = ndimage.find_objects(dense, len(segments))
    entries = []
    for segment, area, box in zip(segments, areas[1:].tolist(), boxes, strict=True):
        if box is not None:
            rows, columns = box
            sides = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
            values = {"id": segment.id, "category_id": segment.category_id, "area": area, "bbox": sides}
            entries.append(values | {"iscrowd": int(segment.is_crowd)})
    return entries


@dataclass(frozen=True)
class PanopticImage:
    """An annotation of a panoptic file: those of one image.

    Args:
        file_name: of the PNG.
        segments: in the order of the file.
    """

    file_name: str
    segments: tuple[Segment, ...]


def read_panoptic_file(path: Any) -> dict[str, Any]:
    """The content of a panoptic JSON file.

    Raises:
        InputError: it cannot be read, or is none of panoptic maps.
    """
    content = read_coco_file(path)
    if not is_panoptic(content):
        raise InputError(f"{path}: this JSON has no annotations with 'segments_info', so it is none of panoptic maps")
    return content


def is_panoptic(content: Mapping[str, Any]) -> bool:
    """Whether the content of a COCO file is that of panoptic maps."""
    annotations = content.get("annotations")
    return isinstance(annotations, list) and bool(annotations) and "segments_info" in annotations[0]


def panoptic_images(content: Mapping[str, Any], source: str) -> dict[Any, PanopticImage]:
    """The annotation of each image id.

    Raises:
        InputError: an entry is wrong, or an image has two.
    """
    known = {category["id"] for category in content["categories"]}
    images: dict[Any, PanopticImage] = {}
    for entry in content["annotations"]:
        image_id = entry.get("image_id")
        name = f"{source}: the annotation of image {shown(image_id)}"
        if not isinstance(image_id, (int, str)) or not isinstance(entry.get("file_name"), str):
            raise InputError(f"{name} needs an image_id and the file_name of its PNG")
        if image_id in images:
            raise InputError(f"{source}: image {shown(image_id)} has two annotations; join their segments in one")
        listed = entry.get("segments_info")
        if not isinstance(listed, list):
            raise InputError(f"{name} has no list 'segments_info'")
        segments = tuple(_segment(one, known, name) for one in listed)
        if len({segment.id for segment in segments}) != len(segments):
            raise InputError(f"{name} has two segments of the same id; give each its own")
        images[image_id] = PanopticImage(entry["file_name"], segments)
    return images


def _segment(entry: Any, known: set[Any], name: str) -> Segment:
    key = entry.get("id") if isinstance(entry, dict) else None
    if type(key) is not int or not 0 < key < _MOST_SEGMENTS:
        raise InputError(f"{name} has a segment with the id {shown(key)}; ids are whole numbers, 1 to {2**24 - 1}")
    category = entry.get("category_id")
    if not isinstance(category, int) or category not in known:
        raise InputError(f"{name} has the segment {key} of the category {shown(category)}, which is not listed")
    return Segment(key, category, entry.get("iscrowd", 0) in (1, True))
