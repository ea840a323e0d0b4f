"""The file of ``--given``: what a model needs with each image, such as a camera."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np

from detkit.data.formats.field_readers import COCO_READERS, CocoFile
from detkit.data.packed.columns import ImageFacts
from detkit.errors import InputError
from detkit.files import FileNames, read_json
from detkit.structures import Target


class GivenFile:
    """A JSON file like COCO's, of which only the images are read: ``{"images": [{"file_name": …, "camera": …}]}``.

    Args:
        path: the file.
        required: the fields that the model needs, under their keys in a COCO file.

    Raises:
        InputError: the file is wrong, or it cannot hold one of the fields.
    """

    def __init__(self, path: str | Path, required: Collection[str]) -> None:
        self.path, self.required = Path(path), sorted(required)
        for name in self.required:
            if name not in COCO_READERS or COCO_READERS[name].per_object:
                raise InputError(f"--given cannot give {name}, which the model asks for; call model.predict in Python.")
        entries = [{"id": one["file_name"], **one} for one in _images(self.path)]
        self.columns = {
            name: COCO_READERS[name].read(entries, CocoFile(self.path, self.path.parent, ())) for name in required
        }
        self.names = FileNames([entry["file_name"] for entry in entries])

    def of(self, source: Path | str, pixels: np.ndarray) -> Target:
        """The fields given with an image or a video frame, found by the end of its path; see `FileNames`.

        Raises:
            InputError: the file does not name it, or several images that it can be.
        """
        rows = self.names.find(str(source))
        if len(rows) != 1:
            what = f"{len(rows)} images that can be {source}" if rows else f"no image {Path(source).name}"
            raise InputError(f"{self.path} has {what}, for which the model asks {', '.join(self.required)}.")
        row = rows[0]
        facts = ImageFacts((pixels.shape[0], pixels.shape[1]), None, str(source), str(self.path))
        fields = {name: column.field(slice(row, row + 1), facts) for name, column in self.columns.items() if column}
        return Target(**fields, image_id=str(source))


def _images(path: Path) -> list[dict]:
    content = read_json(path)
    images: Any = content.get("images") if isinstance(content, dict) else None
    is_list = isinstance(images, list) and len(images) > 0
    if not is_list or not all(isinstance(one, dict) and isinstance(one.get("file_name"), str) for one in images):
        raise InputError(f"{path}: it must hold a list 'images' of objects with a 'file_name' and what is given")
    return images
