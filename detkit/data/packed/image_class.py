"""Derive the class of an image from its objects, for classification and single-object localization."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np

from detkit.data.packed.columns import ImageLabels
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError

logger = logging.getLogger(__name__)

ImageClass = Literal["only", "largest"]


def label_images(packed: PackedAnnotations, image_class: ImageClass, source: Path) -> PackedAnnotations:
    """Give each image a class; keep the images that have one, and their objects of that class without crowd regions.

    Args:
        packed: images with objects.
        image_class: ``only``: the class that all objects of an image share, as in ILSVRC's localization task;
            ``largest``: the class of the object with the largest box.
        source: of the annotations, for messages.

    Raises:
        InputError: no image has a class.
    """
    counts = np.diff(packed.offsets)
    image_of = np.repeat(np.arange(len(counts)), counts)
    counted = np.flatnonzero(~packed.iscrowd)
    sides = packed.boxes[counted, 2:] - packed.boxes[counted, :2]
    # The largest object of each image comes first; of equals the first.
    order = counted[np.lexsort((-sides.prod(axis=1), image_of[counted]))]
    images, first = np.unique(image_of[order], return_index=True)
    labels = np.full(len(counts), -1, dtype=np.int64)
    labels[images] = packed.labels[order[first]]
    has_class = packed.labels == labels[image_of]
    if image_class == "only":
        labels[image_of[~has_class & ~packed.iscrowd]] = -1
    kept = np.flatnonzero(labels >= 0)
    if len(kept) == 0:
        raise InputError(f"{source}: no image has a class by data.image_class {image_class}: choose the other rule")
    if len(kept) < len(labels):
        why = "no object" if image_class == "largest" else "not the objects of exactly one class"
        dropped = len(labels) - len(kept)
        logger.warning("%s: %d of %d images have %s and were left out", source, dropped, len(labels), why)
    objects = packed.select_objects(has_class & ~packed.iscrowd)
    column = ImageLabels(labels, ids=tuple(category.id for category in packed.categories))
    return replace(objects, columns={**objects.columns, "image_label": column}).select_images(kept)
