"""One JSON file of LabelMe: its image, wherever that is, and its shapes."""

from __future__ import annotations

import base64
import binascii
import glob
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detkit.errors import InputError
from detkit.files import named_file, read_json, visible
from detkit.files.json_values import shown
from detkit.images import decode_image, image_size, is_image


@dataclass(frozen=True)
class LabelMeFile:
    """The content of a JSON file.

    Args:
        path: the file.
        image: its entry in a COCO file, with its size.
        shapes: by their position in the file, each with a label.
    """

    path: Path
    image: dict[str, Any]
    shapes: Mapping[int, dict[str, Any]]

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.image["height"], self.image["width"]


def read_labelme_file(path: Path, root: Path, problems: list[str]) -> LabelMeFile | None:
    """Read a JSON file; None where it is none of LabelMe's or has no image, which is added to `problems`.

    Args:
        path: the file.
        root: the folder that names are relative to.
        problems: a message for each fault is added; a shape without a label is left out.
    """
    try:
        content = read_json(path)
        if not isinstance(content, dict) or not isinstance(content.get("shapes"), list):
            raise InputError(f"{path}: this is no file of LabelMe, which has a list of shapes; move it elsewhere")
        image = _image(content, path, root)
    except InputError as error:
        problems.append(str(error))
        return None
    shapes = {}
    for index, shape in enumerate(content["shapes"]):
        if isinstance(shape, dict) and isinstance(shape.get("label"), str) and shape["label"].strip():
            shapes[index] = shape
        else:
            problems.append(f"{path}: shape {index} has no label: {shown(shape)}; name its class")
    return LabelMeFile(path, image, shapes)


def image_bytes(content: Mapping[str, Any], path: Path) -> bytes:
    """The image file that a JSON file holds in its ``imageData``.

    Raises:
        InputError: there is none, or it is not in base64.
    """
    data = content.get("imageData")
    if not data:
        raise InputError(
            f"{path}: there is no image {shown(content.get('imagePath'))} beside it and none in its imageData; "
            f"copy the image there"
        )
    try:
        return base64.b64decode(data, validate=True)
    except (TypeError, ValueError, binascii.Error) as error:
        raise InputError(f"{path}: its imageData is not in base64 ({error}); save the file again") from None


def _image(content: Mapping[str, Any], path: Path, root: Path) -> dict[str, Any]:
    """The entry of the image in a COCO file."""
    name = path.relative_to(root).with_suffix("").as_posix()
    stated = content.get("imageHeight"), content.get("imageWidth")
    size = (stated[0], stated[1]) if all(type(side) is int and side > 0 for side in stated) else None
    file = _image_file(content, path)
    if file is not None:
        height, width = size or image_size(file)
        return {"id": name, "file_name": os.path.relpath(file, root), "height": height, "width": width}
    data = image_bytes(content, path)
    height, width = size or decode_image(data, path).shape[:2]
    return {"id": name, "file_name": name, "height": height, "width": width, "embedded_in": path}


def _image_file(content: Mapping[str, Any], path: Path) -> Path | None:
    """The image that a file names, or else the one of its own name; None where there is neither."""
    named = content.get("imagePath")
    if isinstance(named, str) and named and "\0" not in named:
        portable = named.replace("\\", "/")
        for file in (named_file(path.parent, named), path.parent / portable.rpartition("/")[2]):
            if os.path.isfile(file):
                return file
    beside = (
        file for file in visible(path.parent.glob(f"{glob.escape(path.stem)}.*"), path.parent) if is_image(file.name)
    )
    return next(beside, None)
