"""Folders of PNG label maps whose values are ids of categories, as `detkit predict` and other programs write them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from torch import Tensor

from detkit.coco_files import labels_of_ids
from detkit.errors import InputError
from detkit.files import named_file
from detkit.images import read_map
from detkit.structures import Category

_ENDINGS = (".labels.png", ".png")


class MapFolder:
    """The label maps of a folder: that of ``val/a.jpg`` is ``val/a.png`` or ``a.png``, or ends in ``.labels.png``.

    255 (with 16 bits 65535) means no class, and so does 0 unless a category has that id.

    Args:
        folder: of the PNG files.
        categories: of the labels.

    Raises:
        InputError: there is no such folder.
    """

    def __init__(self, folder: str | Path, categories: Sequence[Category]) -> None:
        self.folder = Path(folder)
        if not self.folder.is_dir():
            raise InputError(f"{folder} is no folder: give one of PNG label maps, named as the images")
        self.ids = [category.id for category in categories]

    def find(self, image_name: str) -> Path | None:
        """The file of an image; None where there is none."""
        name = PurePosixPath(image_name.replace("\\", "/"))
        below = name.relative_to(name.anchor)  # an absolute path would be that of the same file in all folders
        for stem in (below.with_suffix(""), PurePosixPath(name.stem)):
            for ending in _ENDINGS:
                path = Path(named_file(self.folder, f"{stem}{ending}"))
                if path.is_file():
                    return path
        return None

    def read(self, path: Path, image_id: Any) -> Tensor:
        """The label map ``(H, W)`` in a file, uint8 or int16 as of `detkit.structures.Target`.

        Raises:
            InputError: it cannot be read, has several channels, or a value that is no id of a category.
        """
        return labels_of_ids(read_map(path, f"the label map of image {image_id!r}"), self.ids, path, image_id)
