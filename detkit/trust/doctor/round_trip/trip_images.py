"""The images of round trips as a data set."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detkit.data.image_dataset import ImageDataset
from detkit.errors import InputError
from detkit.structures import Category, Target
from detkit.trust.doctor.round_trip.image_trips import ImageTrip


class TripImages(ImageDataset):
    """Augmented images that are known already, for their ground truth.

    Args:
        trips: of the images.
        categories: of the data.
    """

    def __init__(self, trips: Sequence[ImageTrip], categories: Sequence[Category]) -> None:
        self.trips, self._categories = trips, list(categories)

    @property
    def categories(self) -> list[Category]:
        return self._categories

    @property
    def image_ids(self) -> Sequence[Any]:
        return [trip.target.image_id for trip in self.trips]

    @property
    def image_sizes(self) -> np.ndarray:
        return np.array([trip.given_size for trip in self.trips])

    def target(self, index: int) -> Target:
        return self.trips[index].target

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        raise InputError("the pixels of augmented images are not kept")
