"""Images and their maps, paired by the names of their files."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from detkit.errors import InputError
from detkit.files import visible_below
from detkit.images import is_image

_LISTED = 3  # names in a message

MAP_SUFFIXES = ("", "_mask", "_masks", "_label", "_labels", "_labelmap", "_seg", "_segmentation", "_gt", "_L")
"""What may follow an image's name in the name of its map."""


class Pair(NamedTuple):
    """An image and its maps.

    Args:
        image_id: its id.
        image: its file.
        label_map: the file of its label map.
        instances: the file that tells instances apart; None: there is none.
    """

    image_id: str
    image: Path
    label_map: Path
    instances: Path | None = None


def images_below(folder: Path) -> dict[str, Path]:
    """The image files below a folder, by their path in it without suffix.

    Raises:
        InputError: two differ in their suffix alone.
    """
    files: dict[str, Path] = {}
    for name in sorted(filter(is_image, visible_below(folder))):
        stem = os.path.splitext(name)[0]
        if stem in files:
            raise InputError(f"{folder}: {files[stem].name} and {Path(name).name} have the same name; rename one")
        files[stem] = folder / name
    return files


def paired(
    images: Mapping[str, Path],
    maps: Mapping[str, Path],
    names: Sequence[Callable[[str], str]],
    source: Path,
    where: Path,
) -> list[Pair]:
    """Each image with its map.

    Args:
        images: their files by name.
        maps: the same.
        names: the names that the map of an image may have, most common first.
        source: the folder, for messages.
        where: the folder of the maps, for messages.

    Raises:
        InputError: an image has no map, or a map no image.
    """
    pairs, alone, used = [], [], set()
    for name, image in images.items():
        found = next((key for form in names if (key := form(name)) in maps), None)
        if found is None:
            alone.append(image.name)
        else:
            used.add(found)
            pairs.append(Pair(name, image, maps[found]))
    if alone:
        raise InputError(
            f"{source}: {len(alone)} of {len(images)} images have no map in {where} ({_some(alone)}); add the maps, "
            "named as the images, or remove the images"
        )
    if left := [path.name for key, path in maps.items() if key not in used]:
        raise InputError(
            f"{where}: {len(left)} of {len(maps)} maps have no image ({_some(left)}); add the images, or remove "
            "the maps"
        )
    if not pairs:
        raise InputError(f"{source}: there are no images with maps in {where}")
    return pairs


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:_LISTED]) + (", …" if len(names) > _LISTED else "")
