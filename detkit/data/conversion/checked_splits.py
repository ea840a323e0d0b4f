"""Annotated images before they are written: the images that can be read, with boxes inside them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.coco_files.entry_lists import is_plain_text
from detkit.data.formats.writers import AnnotatedSplit
from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.images.orientation import annotated_orientation, turned_size
from detkit.images.reading import read_header


def checked_split(split: AnnotatedSplit, problems: list[str]) -> AnnotatedSplit:
    """The split with the size of every image, boxes inside their images, and without what is wrong.

    Args:
        split: as its reader gives it.
        problems: a message for each fault is added.
    """
    sizes: dict[Any, tuple[int, int]] = {}
    images = []
    id_of: dict[Path, Any] = {}
    for image in split.content["images"]:
        path = split.file_of(image)
        if id_of.setdefault(path, image["id"]) != image["id"]:
            problems.append(f"{path}: the images {id_of[path]!r} and {image['id']!r} are both this file")
            continue
        try:
            header = read_header(path)
        except InputError as error:
            problems.append(str(error))
            continue
        seen = turned_size(*header)
        stated = image.get("height") or seen[0], image.get("width") or seen[1]
        if annotated_orientation(*header, stated) is None:
            problems.append(
                f"{path}: is {seen[1]}x{seen[0]} pixels, after its EXIF orientation, but its annotations "
                f"say {stated[1]}x{stated[0]}"
            )
            continue
        sizes[image["id"]] = stated
        images.append({**image, "height": stated[0], "width": stated[1]})
    annotations = []
    for annotation in split.content["annotations"]:
        if annotation["image_id"] not in sizes:
            continue
        box = _clipped(annotation["bbox"], sizes[annotation["image_id"]])
        if min(box[2:]) <= 0 or min(annotation["bbox"][2:]) <= 0:
            problems.append(f"{annotation['id']}: the box {annotation['bbox']} has no area in its image")
        else:
            annotations.append({**annotation, "bbox": box})
    content = {"images": images, "annotations": annotations, "categories": split.content["categories"]}
    return AnnotatedSplit(split.name, content, split.images_path)


def _clipped(box: list[float], size: tuple[int, int]) -> list[float]:
    """A box ``x y width height`` inside its image; as it was where it lies in it."""
    limits = np.array([*size[::-1], *size[::-1]])
    corners = np.array([*box[:2], box[0] + box[2], box[1] + box[3]])
    inside = corners.clip(0, limits)
    if np.array_equal(inside, corners):
        return box
    return [round(value, 6) for value in [*inside[:2].tolist(), *(inside[2:] - inside[:2]).tolist()]]


def check_class_names(splits: Sequence[AnnotatedSplit]) -> None:
    """Refuse splits with a class that cannot be written, or with other classes than the first split.

    Raises:
        InputError: it names the class or both lists.
    """
    for split in splits:
        for name in split.names:
            if not name.strip() or not is_plain_text(name):
                raise InputError(f"the split '{split.name}' has a class of the name {shown(name)}; rename it")
        if len(set(split.names)) != len(split.names):
            raise InputError(f"the split '{split.name}' has classes of the same name: {split.names}; rename one")
        if split.names != splits[0].names:
            raise InputError(
                f"the split '{split.name}' has the classes {split.names}, but '{splits[0].name}' has "
                f"{splits[0].names}; all must list the same names in the same order"
            )
