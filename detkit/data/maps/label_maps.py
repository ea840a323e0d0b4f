"""Label maps (the class of each pixel) read from PNG files."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from torch import Tensor

from detkit.coco_files import labels_of_ids
from detkit.data.packed.columns import ImageFacts, ImageFiles
from detkit.errors import InputError
from detkit.files import named_file
from detkit.images import read_map


@dataclass(frozen=True)
class LabelMapFiles(ImageFiles):
    """A PNG of one channel, of up to 16 bits, for each image; of an indexed one its indices count.

    Its values are category ids. 255 (with 16 bits 65535) means no class, and so does 0 unless a category has that id.
    Any other unknown value is an error.
    """

    @classmethod
    def find(cls, entries: Sequence[Mapping[str, Any]], source: Path, images: Path, ids: Sequence[int]) -> Self:
        """Find the label maps of the images of a COCO file.

        An image's entry names its file as ``label_map``, relative to the annotation file, to the folder above it or to
        the images folder. Without that key, the file for ``images/train/a.jpg`` is ``labels/train/a.png``, if it
        exists.

        Raises:
            InputError: a named file is missing, or no image has one.
        """
        folders = (source.parent, source.parent.parent, images)
        paths = [
            _named_file(entry, folders, source) or _default_file(named_file(images, entry["file_name"]))
            for entry in entries
        ]
        if not any(paths):
            raise InputError(
                f"{source}: no image has a label map: name its PNG in the image's entry as 'label_map', or put that of "
                f"{images / entries[0]['file_name']} at {_default_path(images / entries[0]['file_name'])}"
            )
        return cls(np.array(paths), _Reader(tuple(ids)), "label_map")


def _named_file(entry: Mapping[str, Any], folders: Sequence[Path], source: Path) -> str:
    name = entry.get("label_map")
    if name is None:
        return ""
    path = next((path for folder in folders if os.path.isfile(path := named_file(folder, str(name)))), None)
    if path is None:
        raise InputError(
            f"{source}: the label map {name!r} of image {entry.get('id')!r} is in none of "
            f"{', '.join(map(str, dict.fromkeys(folders)))}; correct its path"
        )
    return str(path)


def _default_file(image: Path) -> str:
    path = _default_path(image)
    return str(path) if path != image and path.is_file() else ""


def _default_path(image: Path) -> Path:
    """The path with its last folder ``images`` replaced by ``labels``; the same path where there is no such folder."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] == "images":
            parts[position] = "labels"
            return Path(*parts).with_suffix(".png")
    return image


@dataclass(frozen=True)
class _Reader:
    """Reads a label map; `ids` are the category ids in the order of the labels."""

    ids: tuple[int, ...]

    def __call__(self, path: Path, image: ImageFacts) -> Tensor:
        pixels = read_map(path, f"the label map of image {image.image_id!r}")
        if pixels.shape[:2] != image.size:
            raise InputError(
                f"{path}: this label map is {pixels.shape[:2]} (height, width), but image {image.image_id!r} has "
                f"{image.size}"
            )
        return labels_of_ids(pixels, self.ids, path, image.image_id)
