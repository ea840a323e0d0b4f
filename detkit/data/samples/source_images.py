"""What data sources read: images of any folder, and of data sets whose objects are not annotated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch.utils.data import Dataset

from detkit.data.image_dataset import ImageDataset
from detkit.errors import InputError
from detkit.files import visible_below
from detkit.images import is_image, read_image
from detkit.structures import Category, Target


class UnlabeledImages(Dataset):
    """The images of a folder and its subfolders, sorted by path; a target holds the image id alone, which is the path.

    Args:
        root: the folder.

    Raises:
        InputError: it is missing or holds no images; later, an image cannot be decoded.
    """

    categories: Sequence[Category] = ()
    keypoint_pairs: Sequence[tuple[int, int]] = ()

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        paths = sorted(filter(is_image, visible_below(self.root)))
        if not paths:
            raise InputError(f"{self.root}: there are no images in this folder of a data source without labels")
        self.paths = np.array(paths)

    def __len__(self) -> int:
        return len(self.paths)

    @property
    def image_sizes(self) -> np.ndarray:
        """``(n, 2)`` zeros: opening each file for its size would take too long."""
        return np.zeros((len(self), 2), dtype=np.int64)

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """The image ``(H, W, 3)``, and a target without annotations."""
        path = str(self.paths[index])
        return read_image(self.root / path), Target(image_id=path)


class WithoutObjects(Dataset):
    """A data set whose objects are not annotated: all fields of objects of its targets are None.

    Args:
        dataset: with or without objects.
    """

    def __init__(self, dataset: ImageDataset) -> None:
        self.dataset = dataset
        self.categories: Sequence[Category] = dataset.categories
        self.keypoint_pairs = dataset.keypoint_pairs
        self.image_sizes: np.ndarray = dataset.image_sizes
        kinds = dataset.target_class.kinds().items()
        self._nothing: dict[str, Any] = {name: None for name, kind in kinds if kind.per_object}

    def __len__(self) -> int:
        return len(self.dataset)

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """The image ``(H, W, 3)``, and its target without objects."""
        image, target = self.dataset.read(index)
        return image, replace(target, **self._nothing)
