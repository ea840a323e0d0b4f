"""The images and classes of a data set whose truth comes with its targets, such as a map for each image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from detkit.coco_files import check_coco_content, read_coco_file, read_images, read_listed_categories
from detkit.evaluation.ground_truth import images_to_evaluate, positions
from detkit.structures import Category


@dataclass(frozen=True, eq=False)
class TargetTruth:
    """Images and classes; the maps or meshes themselves come with the targets.

    Args:
        source: how messages name it: the path of the file, or ``annotations``.
        categories: the T classes, sorted by id: things and stuff together.
        image_ids: the images, in the order in which all evaluators visit them.
        image_names: the file name by image id, where it is stated.
        image_sizes: ``(height, width)`` by image id, where it is stated.
    """

    source: str
    categories: Sequence[Category]
    image_ids: Sequence[Any]
    image_names: dict[Any, str]
    image_sizes: dict[Any, tuple[int, int]]
    image_numbers: dict[Any, int] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "image_numbers", positions(self.image_ids))

    @property
    def class_names(self) -> list[str]:
        """The names of the classes."""
        return [category.name for category in self.categories]


def read_target_truth(annotations: str | Path | dict) -> TargetTruth:
    """Read images and categories of a COCO file, or of its content.

    Raises:
        InputError: it is no such file, or an image or a category is wrong.
    """
    if isinstance(annotations, dict):
        source, content = "annotations", check_coco_content(annotations, "annotations")
    else:
        source, content = str(annotations), read_coco_file(annotations)
    categories = read_listed_categories(content["categories"], source) if content["categories"] else []
    listed = read_images(content["images"], source) if content["images"] else None
    ids, sizes = (listed.ids, listed.sizes.tolist()) if listed else ([], [])
    stated = {one: (height, width) for one, (height, width) in zip(ids, sizes, strict=True) if height and width}
    ordered = images_to_evaluate(ids, None, source)
    names = {one["id"]: name for one in content["images"] if isinstance(name := one.get("file_name"), str)}
    return TargetTruth(source, categories, ordered, names, stated)
