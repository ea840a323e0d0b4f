"""COCO's three forms of a mask, one at a time."""

from __future__ import annotations

from typing import Any

from detkit.coco_files.segmentations import check_segmentation, encode_segmentation
from detkit.errors import InputError
from detkit.files import read_json

__all__ = ["read_json", "to_rle"]


def to_rle(segmentation: Any, size: tuple[int, int] | None) -> dict[str, Any]:
    """Convert any of COCO's three forms of a mask (polygons, run lengths, compressed run lengths) to the last of them.

    Args:
        segmentation: the mask as it stands in the file.
        size: ``(height, width)`` of its image, where known.

    Raises:
        InputError: it is none of them, does not have the size of the image, or is polygons and the size is unknown; the
            message does not name the entry.
    """
    checked = check_segmentation(segmentation)
    if checked is None or isinstance(checked, str):
        raise InputError("it is none of COCO's forms of a mask, or only polygons of fewer than three corners")
    return encode_segmentation(checked, size)
