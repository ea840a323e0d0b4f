"""What detections are evaluated against."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, Literal

from detkit.errors import InputError
from detkit.evaluation.packed_objects import Objects
from detkit.structures import Category

IouType = Literal["bbox", "segm", "keypoints"]


@dataclass(frozen=True, eq=False)
class GroundTruth:
    """What is evaluated against.

    Args:
        source: how messages name it: the path of the file, or ``annotations``.
        categories: the categories, sorted by id.
        image_ids: the images that count, in the order in which COCO's evaluation visits them.
        image_sizes: ``(height, width)`` of an image id, where the file tells.
        objects: the objects, with images by their position in `image_ids` and categories by theirs in `categories`.
    """

    source: str
    categories: list[Category]
    image_ids: list[Any]
    image_sizes: dict[Any, tuple[int, int]]
    objects: Objects
    image_numbers: dict[Any, int] = field(init=False)
    category_positions: dict[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_numbers", positions(self.image_ids))
        object.__setattr__(self, "category_positions", by_id(self.categories))

    def number_of(self, image_id: Any, place: str) -> int:
        """The position of `image_id`, which was met at `place`.

        Raises:
            InputError: the image is not in the ground truth.
        """
        with contextlib.suppress(TypeError):  # an id that cannot be hashed is unknown too
            if image_id in self.image_numbers:
                return self.image_numbers[image_id]
        known = ", ".join(repr(key) for key in self.image_ids[:3])
        raise InputError(
            f"{place}: image id {image_id!r} is not among the {len(self.image_ids)} images of {self.source} "
            f"({known} …); evaluate against the annotations that the detections were made for"
        )


def plain_id(image_id: Any) -> Any:
    """An image id as Python's own type: a tensor's or an array's element becomes the number that it holds."""
    return image_id.item() if hasattr(image_id, "item") else image_id


def visited(known: Collection[Any], wanted: Collection[Any] | None, source: str) -> list[Any]:
    """The images to evaluate, in the order in which COCO's evaluation visits them: numbers by value, then strings by
    letters. That order decides between equal scores of different images.

    Args:
        known: ids of the images of `source`.
        wanted: those to evaluate on; None for all.
        source: how messages name the ground truth.

    Raises:
        InputError: an image that is wanted is not known.
    """
    unknown = [key for key in wanted or () if key not in known]
    if unknown:
        raise InputError(f"image_ids: {unknown[0]!r} is not an image of {source}; leave it out or correct it")
    return sorted(set(known if wanted is None else wanted), key=lambda key: (isinstance(key, str), key))


def positions(keys: Collection[Any]) -> dict[Any, int]:
    """Of each key its position."""
    return {key: position for position, key in enumerate(keys)}


def by_id(categories: Collection[Category]) -> dict[int, int]:
    """Of each category's id its position."""
    return positions([category.id for category in categories])
