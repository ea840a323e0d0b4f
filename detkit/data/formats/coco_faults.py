"""Read a COCO file with all its faults: what is wrong is left out and listed, where training stops at the first."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.coco_files import EntryList, ListedImages, read_coco_file, read_images, read_listed_categories, read_objects
from detkit.coco_files.entry_lists import as_id
from detkit.errors import InputError
from detkit.files.json_values import shown

Entries = list[dict[str, Any]]
Faults = list[tuple[dict[str, Any], str]]
Read = Callable[[Sequence[dict[str, Any]], int], Any]
"""Reads a part of a list, which begins at this entry of it, and raises what is wrong."""


def read_coco_with_faults(path: Path, problems: list[str], with_masks: bool = False) -> dict[str, Any]:
    """Read the images and objects of a COCO file that training could read, with the values that it would read.

    Args:
        path: the file.
        problems: a message for each fault is added; such images and objects are left out.
        with_masks: check segmentations as well.

    Returns:
        The content of a COCO file. Objects have ``bbox``, ``area``, ``iscrowd`` and ``difficult``, and their ``id`` is
        their name in messages. Images have ``width`` and ``height``, 0 where they are not stated.

    Raises:
        InputError: it is no COCO file, or its categories are wrong.
    """
    source, content = str(path), read_coco_file(path)
    has_objects = bool(content["annotations"])  # without, the other lists may be empty as well
    categories = read_listed_categories(content["categories"], source) if has_objects or content["categories"] else []
    if has_objects and not content["images"]:
        read_images([], source)  # says so
    images, entries = _read_images(content["images"], source, problems)

    def read(part: Sequence[dict[str, Any]], start: int = 0) -> Any:
        return read_objects(part, images, categories, source, with_masks, start)

    kept, faults = _sound(content["annotations"], read)
    wrong_images = {as_id(entry.get("id")) for entry in content["images"]} - set(images.ids)
    # Of the objects of a wrong image, the image says enough.
    problems += [message for entry, message in faults if as_id(entry.get("image_id")) not in wrong_images]
    annotations = _unique(kept, "annotation", source, problems)
    objects = read(annotations)
    rows = zip(
        objects.images.tolist(),
        objects.labels.tolist(),
        objects.boxes.tolist(),
        objects.areas.tolist(),
        objects.iscrowd.tolist(),
        objects.difficult.tolist(),
        strict=True,
    )
    read_values = [
        {
            "id": f"{source}: {objects.listed.name(row)}",
            "image_id": images.ids[image],
            "category_id": categories[label].id,
            "bbox": box,
            "area": area,
            "iscrowd": iscrowd,
            "difficult": difficult,
        }
        for row, (image, label, box, area, iscrowd, difficult) in enumerate(rows)
    ]
    if objects.segmentations is not None:
        for values, segmentation in zip(read_values, objects.segmentations, strict=True):
            values["segmentation"] = segmentation
    return {
        "images": entries,
        "annotations": [entry | values for entry, values in zip(annotations, read_values, strict=True)],
        "categories": [{"id": one.id, "name": one.name} for one in categories],
    }


def _read_images(given: Entries, source: str, problems: list[str]) -> tuple[ListedImages, Entries]:
    """The images without faults, and their entries."""

    def read(part: Sequence[dict[str, Any]], start: int = 0) -> ListedImages:
        images = read_images(part, source, start)
        images.listed.texts("file_name")
        return images

    kept, faults = _sound(given, read)
    problems += [message for _, message in faults]
    entries = _unique(kept, "image", source, problems)
    if not entries:
        return ListedImages(EntryList([], "image", source), [], np.zeros((0, 2), dtype=np.int64)), []
    images = read(entries)
    values = zip(entries, images.ids, images.sizes.tolist(), strict=True)
    return images, [entry | {"id": own, "height": size[0], "width": size[1]} for entry, own, size in values]


def _sound(entries: Entries, read: Read, start: int = 0) -> tuple[Entries, Faults]:
    """The entries that can be read, and what is wrong with the others.

    They are read by halves, until each part can be read as a whole or is one entry, which is wrong.
    """
    if not entries:
        return [], []
    try:
        read(entries, start)
    except InputError as error:
        if len(entries) == 1:
            return [], [(entries[0], str(error))]
        half = len(entries) // 2
        (left, left_faults), (right, right_faults) = (
            _sound(entries[:half], read, start),
            _sound(entries[half:], read, start + half),
        )
        return left + right, left_faults + right_faults
    return entries, []


def _unique(entries: Entries, kind: str, source: str, problems: list[str]) -> Entries:
    """The entries without those that repeat an id."""
    first: dict[Any, dict[str, Any]] = {}
    kept: Entries = []
    for entry in entries:
        own = as_id(entry.get("id"))
        if own is None or first.setdefault(own, entry) is entry:
            kept.append(entry)
        else:
            problems.append(f"{source}: {kind} id {shown(own)} is used twice; give every {kind} its own id")
    return kept
