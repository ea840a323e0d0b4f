"""The ground truth that detections are evaluated against, and the order of its images and categories."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from detkit.deprecation import moved_names
from detkit.errors import InputError
from detkit.evaluation.packed_objects import PackedObjects
from detkit.structures import UNUSED_LABEL, Category

IouType = Literal["bbox", "segm", "keypoints"]

NOTHING_TO_MEASURE = -1.0
"""The value of a metric without any object to measure with, as in COCO's table; 0 would mean a bad detector."""


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """Images, categories and objects to evaluate against.

    Args:
        source: how messages name it: the path of the file, or ``annotations``.
        categories: the categories, sorted by id.
        image_ids: the evaluated images, in the order in which COCO's evaluation visits them.
        image_sizes: ``(height, width)`` by image id, where the file states it.
        objects: the objects, with images by their position in `image_ids` and categories by theirs in `categories`.
        image_names: the file name by image id, where the file states it; files of detections are joined by it.
    """

    source: str
    categories: list[Category]
    image_ids: list[Any]
    image_sizes: dict[Any, tuple[int, int]]
    objects: PackedObjects
    image_names: dict[Any, str] = field(default_factory=dict)
    image_numbers: dict[Any, int] = field(init=False)
    category_positions: dict[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_numbers", positions(self.image_ids))
        object.__setattr__(self, "category_positions", positions_by_id(self.categories))

    def number_of(self, image_id: Any, where: str) -> int:
        """The position of an image.

        Args:
            image_id: of the image.
            where: the file and entry that name it, for the message.

        Raises:
            InputError: the image is not in the ground truth.
        """
        with contextlib.suppress(TypeError):  # an id that cannot be hashed is unknown too
            if image_id in self.image_numbers:
                return self.image_numbers[image_id]
        known = ", ".join(repr(key) for key in self.image_ids[:3])
        raise InputError(
            f"{where}: image id {image_id!r} is not among the {len(self.image_ids)} images of {self.source} "
            f"({known} …); evaluate against the annotations that the detections were made for"
        )


def plain_id(image_id: Any) -> Any:
    """An image id as Python's own type: a tensor's or an array's element becomes the number that it holds."""
    return image_id.item() if hasattr(image_id, "item") else image_id


def images_to_evaluate(known: Collection[Any], requested: Collection[Any] | None, source: str) -> list[Any]:
    """The ids of the images to evaluate, in the order in which COCO's evaluation visits them: numbers by value, then
    strings alphabetically. That order decides between equal scores in different images.

    Args:
        known: ids of the images of `source`.
        requested: ids of those to evaluate; None for all.
        source: how messages name the ground truth.

    Raises:
        InputError: a requested image is not known.
    """
    known = set(known)
    unknown = [key for key in requested or () if key not in known]
    if unknown:
        raise InputError(f"image_ids: {unknown[0]!r} is not an image of {source}; leave it out or correct it")
    chosen = known if requested is None else set(requested)
    texts = {key for key in chosen if isinstance(key, str)}
    return sorted(chosen - texts) + sorted(texts)


def positions(keys: Collection[Any]) -> dict[Any, int]:
    """The position of each key."""
    return {key: position for position, key in enumerate(keys)}


def positions_by_id(categories: Collection[Category]) -> dict[int, int]:
    """The position of each category by its id."""
    return positions([category.id for category in categories])


def label_positions(categories: Sequence[Category], known: Sequence[Category], source: str) -> np.ndarray:
    """int64 ``(K,)`` the position in the ground truth of the category of each label; -1 for unused labels.

    A category is looked up as a whole first, so that several of one name are told apart, then by name alone.

    Args:
        categories: the model's; ``categories[k]`` is that of label ``k``.
        known: those of the ground truth.
        source: how messages name the ground truth.

    Raises:
        InputError: the ground truth has no category of that name.
    """
    names = {category.name: position for position, category in enumerate(known)}
    exact = {category: position for position, category in enumerate(known)}
    unknown = [category.name for category in categories if category.name not in {*names, UNUSED_LABEL}]
    if unknown:
        raise InputError(
            f"the model's category {unknown[0]!r} is not in {source}: the model has "
            f"{[category.name for category in categories]}, the annotations have {list(names)}; "
            "rename the categories or take the annotations that the model was trained for"
        )
    return np.array([exact.get(one, names.get(one.name, -1)) for one in categories], dtype=np.int64)


__getattr__ = moved_names(
    __name__,
    {
        "visited": "detkit.evaluation.ground_truth.images_to_evaluate",
        "by_id": "detkit.evaluation.ground_truth.positions_by_id",
    },
)
