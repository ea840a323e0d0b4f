"""Panoptic maps (the class and the instance of each pixel) read from COCO's PNGs."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from detkit.coco_files import PanopticImage, colors_to_ids, panoptic_images, read_panoptic_file
from detkit.data.packed.columns import Column, ImageFacts
from detkit.errors import InputError
from detkit.files import named_file
from detkit.images import read_map
from detkit.structures import Category
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES


@dataclass(frozen=True)
class PanopticFiles(Column):
    """A PNG for each image whose colors are ids of segments; color 0 is void.

    Args:
        paths: ``(n,)`` str; empty for images without one.
        offsets: ``(n + 1,)``; the segments of image i are ``offsets[i]:offsets[i + 1]``.
        ids: ``(s,)`` int32 the id of each segment, sorted within its image.
        values: ``(s,)`` int32 what it becomes in a panoptic map, ``label * 65536 + instance``.
    """

    paths: np.ndarray
    offsets: np.ndarray
    ids: np.ndarray
    values: np.ndarray

    per_object = False

    @classmethod
    def pack(
        cls,
        image_ids: Sequence[Any],
        images: Mapping[Any, PanopticImage],
        folder: Path,
        categories: Sequence[Category],
        source: Path,
    ) -> Self:
        """Pack the annotations of a panoptic file, for these images.

        Args:
            image_ids: in the order of the data set.
            images: the annotation of each image id; some may lack one.
            folder: of the PNGs.
            categories: in the order of the labels.
            source: the JSON file, for messages.

        Raises:
            InputError: no image has an annotation, one has too many segments, or a PNG is missing.
        """
        labels = {category.id: label for label, category in enumerate(categories)}
        own = [images.get(image_id) for image_id in image_ids]
        if not any(own):
            raise InputError(f"{source}: it has no annotation of any of the {len(own)} images; give the file of theirs")
        ids: list[int] = []
        values: list[int] = []
        offsets = [0]
        for image in own:
            instances = 0
            numbered = []
            for segment in () if image is None else image.segments:
                label = labels[segment.category_id]
                is_object = categories[label].is_thing and not segment.is_crowd
                instances += is_object
                numbered.append((segment.id, label * INSTANCES + (instances if is_object else 0)))
            if instances >= INSTANCES:
                raise InputError(f"{source}: an image has {instances} objects, more than {INSTANCES - 1}")
            numbered.sort()
            ids += [key for key, _ in numbered]
            values += [value for _, value in numbered]
            offsets.append(len(ids))
        paths = ["" if image is None else str(named_file(folder, image.file_name)) for image in own]
        _check_files(paths, source)
        return cls(np.array(paths), np.array(offsets), np.array(ids, dtype=np.int32), np.array(values, dtype=np.int32))

    def select(self, rows: np.ndarray) -> Self:
        spans = [np.arange(self.offsets[row], self.offsets[row + 1]) for row in rows]
        kept = np.concatenate([np.zeros(0, dtype=np.int64), *spans])
        offsets = np.concatenate([[0], np.cumsum([len(span) for span in spans])]).astype(np.int64)
        return replace(self, paths=self.paths[rows], offsets=offsets, ids=self.ids[kept], values=self.values[kept])

    def field(self, rows: slice, image: ImageFacts) -> Tensor | None:
        row = rows.start
        pixels = self.segment_ids(row, image)
        if pixels is None:
            return None
        span = slice(int(self.offsets[row]), int(self.offsets[row + 1]))
        ids = np.concatenate([np.zeros(1, dtype=np.int32), self.ids[span]])
        values = np.concatenate([np.full(1, IGNORE_INDEX[torch.int32], dtype=np.int32), self.values[span]])
        places = np.minimum(np.searchsorted(ids, pixels), len(ids) - 1)
        unknown = ids[places] != pixels
        if unknown.any():
            key = int(pixels[unknown][0])
            raise InputError(
                f"{self.paths[row]}: the panoptic map of image {image.image_id!r} has pixels of the segment {key}, the "
                f"color ({key % 256}, {key // 256 % 256}, {key // 65536}), which is not among its segments_info"
            )
        return torch.from_numpy(values[places])

    def segment_ids(self, row: int, image: ImageFacts) -> np.ndarray | None:
        """The id ``(H, W)`` int32 of the segment at each pixel of an image; None: it has no map."""
        path = str(self.paths[row])
        if not path:
            return None
        colors = read_map(path, f"the panoptic map of image {image.image_id!r}", palette=True)
        if colors.shape[:2] != tuple(image.size):
            raise InputError(
                f"{path}: this panoptic map is {colors.shape[:2]} (height, width), but image {image.image_id!r} has "
                f"{tuple(image.size)}"
            )
        return colors_to_ids(colors) if colors.ndim == 3 else colors.astype(np.int32)


def find_panoptic(annotations: Path, images: Sequence[dict[str, Any]], categories: Sequence[Category]) -> PanopticFiles:
    """The panoptic maps of the images of a COCO file, from the panoptic file beside it.

    That of ``instances_train.json`` is ``panoptic_train.json``, with its PNGs in ``panoptic_train/``, as in COCO.

    Raises:
        InputError: there is none, or it has other classes.
    """
    path = annotations.with_name(f"panoptic_{annotations.name.removeprefix('instances_')}")
    if not path.is_file():
        raise InputError(f"{annotations}: there are no panoptic maps beside it; put their JSON file at {path}")
    content = read_panoptic_file(path)
    known = {category.id: category.name for category in categories}
    for entry in content["categories"]:
        if known.get(entry.get("id")) != entry.get("name"):
            raise InputError(
                f"{path}: {annotations.name} has no category {entry.get('name')!r} with the id {entry.get('id')!r}; "
                "read the panoptic file alone, with --data.format coco_panoptic"
            )
    ids = [image["id"] for image in images]
    return PanopticFiles.pack(ids, panoptic_images(content, str(path)), path.with_suffix(""), categories, path)


def _check_files(paths: Sequence[str], source: Path) -> None:
    folders = {os.path.dirname(path) for path in paths if path}
    present = {os.path.join(folder, name) for folder in folders if os.path.isdir(folder) for name in os.listdir(folder)}
    missing = [path for path in paths if path and path not in present]
    if missing:
        raise InputError(
            f"{source}: {len(missing)} of its {len(paths)} PNGs are not there (first: {missing[0]}); unpack them into "
            "that folder"
        )
