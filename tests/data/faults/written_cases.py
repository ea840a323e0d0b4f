"""Small splits as they are written, into which a test plants a fault."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from detkit.data.faults.problem import Problem
from detkit.data.faults.written_split import WrittenSplit

SIZE = (100, 200)  # height, width
NAMES = ("cat", "dog")


def split(
    *objects: dict[str, Any], name: str = "train", names: Sequence[str] = NAMES, images: int = 3, **categories: Any
) -> WrittenSplit:
    """A split of some images of 200 x 100 pixels; an object is of the first image and class unless it says others.

    Args:
        objects: entries of a COCO file; `label` stands for the category.
        name: of the split.
        names: of the classes.
        images: their number.
        categories: further values of all categories.
    """
    entries = [
        {"id": 10 + row, "image_id": 0, "bbox": [10, 10, 40, 30], "category_id": 1 + one.get("label", 0), **one}
        for row, one in enumerate(objects)
    ]
    content = {
        "images": [{"id": k, "file_name": f"{k}.png", "height": SIZE[0], "width": SIZE[1]} for k in range(images)],
        "annotations": entries,
        "categories": [{"id": k + 1, "name": one, **categories} for k, one in enumerate(names)],
    }
    return WrittenSplit.of_content(name, content, f"{name}.json")


def kinds(problems: Sequence[Problem]) -> dict[str, int]:
    """How often each kind of fault was found."""
    return {problem.name: problem.count for problem in problems}
