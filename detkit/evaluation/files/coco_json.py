"""Reading JSON files and COCO's three forms of a mask."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pycocotools import mask as rle_masks

from detkit.errors import InputError
from detkit.ops import RunLengths


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        InputError: it is not there, or not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the path of a COCO JSON file") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; give the path of a COCO JSON file in it") from None
    except (ValueError, RecursionError) as error:  # not JSON, not UTF-8, or nested too deeply
        raise InputError(f"{path} is not JSON ({error}); give a file in COCO's format") from None


def to_rle(segmentation: Any, size: tuple[int, int] | None) -> dict:
    """Convert any of COCO's three forms of a mask (polygons, run lengths, compressed run lengths) to the last of them.

    Args:
        segmentation: the mask as it stands in the file.
        size: ``(height, width)`` of its image, where known.

    Raises:
        ValueError: it is none of them, does not have the size of the image, or is polygons and the size is unknown.
    """
    try:
        mask = _encoded(segmentation, size)
        if size is not None and list(mask["size"]) != list(size):
            raise ValueError(f"its size {list(mask['size'])} is not the image's {list(size)} (height, width)")
        RunLengths.from_coco([mask])  # raises if it is malformed
    except (KeyError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"it is none of COCO's forms of a mask ({type(error).__name__}: {error})") from None
    except Exception as error:  # pycocotools raises bare exceptions
        raise ValueError(str(error)) from None
    return mask


def _encoded(segmentation: Any, size: tuple[int, int] | None) -> dict:
    if isinstance(segmentation, dict):
        is_compressed = isinstance(segmentation["counts"], (str, bytes))
        return segmentation if is_compressed else rle_masks.frPyObjects(segmentation, *segmentation["size"])
    if not isinstance(segmentation, list) or not segmentation:
        raise TypeError("neither polygons nor run lengths")
    if size is None:
        raise ValueError("its polygons need the height and width of the image, which the file does not state")
    return rle_masks.merge(rle_masks.frPyObjects(segmentation, *size))
