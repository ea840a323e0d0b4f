"""The file of ``--given``: what a model needs with each image, such as a camera."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import numpy as np

from detkit.data.formats.field_readers import COCO_READERS, CocoFile
from detkit.data.packed.columns import ImageFacts
from detkit.errors import InputError
from detkit.files import read_json
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
        self.rows = {str(entry["file_name"]): row for row, entry in enumerate(entries)}

    def of(self, source: Path, pixels: np.ndarray) -> Target:
        """The fields given with an image or a video frame, found by the longest suffix of its path that the file has.

        Raises:
            InputError: the file does not name it.
        """
        row = next((self.rows[name] for name in _ends(source) if name in self.rows), None)
        if row is None:
            raise InputError(
                f"{self.path} has no image {source.name}, for which the model asks {', '.join(self.required)}."
            )
        facts = ImageFacts((pixels.shape[0], pixels.shape[1]), None, str(source), str(self.path))
        fields = {name: column.field(slice(row, row + 1), facts) for name, column in self.columns.items() if column}
        return Target(**fields, image_id=str(source))


def _images(path: Path) -> list[dict]:
    content = read_json(path)
    images = content.get("images") if isinstance(content, dict) else None
    if not images or not all(isinstance(one, dict) and isinstance(one.get("file_name"), str) for one in images):
        raise InputError(f"{path}: it must hold a list 'images' of objects with a 'file_name' and what is given")
    return images


def _ends(source: Path) -> list[str]:
    parts = source.parts
    return ["/".join(parts[start:]).replace("//", "/") for start in range(len(parts))]
