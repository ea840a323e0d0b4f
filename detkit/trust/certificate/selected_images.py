"""`SelectedImages`: some images of a data set, and the ground truth of these alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.data.image_dataset import ImageDataset
from detkit.data.spread import evenly_spread
from detkit.files import read_json
from detkit.structures import Category, Target


class SelectedImages(ImageDataset):
    """Evenly spread images of a data set.

    Args:
        dataset: the data set.
        images: their number; all where there are no more.
    """

    def __init__(self, dataset: ImageDataset, images: int) -> None:
        self.dataset, self.rows = dataset, evenly_spread(len(dataset), images)
        self.annotations_path = dataset.annotations_path

    @property
    def categories(self) -> list[Category]:
        """Those of all."""
        return self.dataset.categories

    @property
    def image_ids(self) -> Sequence[Any]:
        """Of the selected images."""
        return [self.dataset.image_ids[row] for row in self.rows]

    @property
    def image_sizes(self) -> np.ndarray:
        """Of the selected images."""
        return self.dataset.image_sizes[self.rows]

    @property
    def has_image_labels(self) -> bool:
        """Whether each image has a class."""
        return self.dataset.has_image_labels

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """An image and its target."""
        return self.dataset.read(self.rows[index])

    def target(self, index: int) -> Target:
        """The target of an image."""
        return self.dataset.target(self.rows[index])

    def ground_truth(self) -> Path | dict:
        """The content for the selected images alone."""
        truth = self.dataset.ground_truth()
        content = dict(truth if isinstance(truth, dict) else read_json(truth))
        kept = set(self.image_ids)
        content["images"] = [one for one in content["images"] if one["id"] in kept]
        content["annotations"] = [one for one in content.get("annotations", []) if one["image_id"] in kept]
        return content
