"""The three lists of a COCO annotation file.

Format: Lin et al., "Microsoft COCO", 2014, https://cocodataset.org/#format-data.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detkit.coco_files.mask_files import is_mask_file
from detkit.errors import InputError
from detkit.files import named_beside, read_json

LISTS = ("images", "annotations", "categories")


def read_coco_file(path: str | Path) -> dict[str, Any]:
    """Read the content of a COCO file, checked to be an object with the lists `images`, `annotations` and `categories`.

    Names of mask files become paths that can be opened: they are relative to the folder of the file, or the one above.

    Raises:
        InputError: not readable, not JSON, or a list is missing.
    """
    content = check_coco_content(read_json(path), str(path))
    for annotation in content["annotations"]:
        if is_mask_file(name := annotation.get("segmentation")):
            annotation["segmentation"] = named_beside(path, name)
    return content


def check_coco_content(content: Any, source: str) -> dict[str, Any]:
    """The content of a COCO file, checked to be an object with three lists of objects.

    Args:
        content: the value that the file holds.
        source: the path of the file, for messages.

    Raises:
        InputError: it is something else, or a list is missing.
    """
    if not isinstance(content, dict):
        raise InputError(f"{source}: a COCO file is a JSON object, this one holds a {type(content).__name__}")
    for key in LISTS:
        if not isinstance(content.get(key), list):
            raise InputError(
                f"{source}: the list '{key}' is missing; a COCO file has images, annotations and categories"
            )
        for position, entry in enumerate(content[key]):
            if not isinstance(entry, dict):
                raise InputError(f"{source}: {key}[{position}] is a {type(entry).__name__}, not an object")
    return content
