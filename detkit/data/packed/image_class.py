"""From objects to the class of the image as a whole, for classification and single-object localization."""

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
    """The images that have a class as a whole, each with its objects of that class; crowd regions do not count.

    Args:
        packed: images with objects.
        image_class: ``only``: images whose objects are all of one class have it, as in ILSVRC's localization task;
            ``largest``: the class of an image is that of its object with the largest box.
        source: what messages name.

    Raises:
        InputError: no image has a class.
    """
    counts = np.diff(packed.offsets)
    image_of = np.repeat(np.arange(len(counts)), counts)
    counted = np.flatnonzero(~packed.iscrowd)
    sides = packed.boxes[counted, 2:] - packed.boxes[counted, :2]
    # Of each image the largest object comes first; the first of equals.
    order = counted[np.lexsort((-sides.prod(axis=1), image_of[counted]))]
    images, first = np.unique(image_of[order], return_index=True)
    labels = np.full(len(counts), -1, dtype=np.int64)
    labels[images] = packed.labels[order[first]]
    same = packed.labels == labels[image_of]
    if image_class == "only":
        labels[image_of[~same & ~packed.iscrowd]] = -1
    kept = np.flatnonzero(labels >= 0)
    if len(kept) == 0:
        raise InputError(f"{source}: no image has a class by data.image_class {image_class}: choose the other way")
    if len(kept) < len(labels):
        why = "no object" if image_class == "largest" else "not the objects of exactly one class"
        dropped = len(labels) - len(kept)
        logger.warning("%s: %d of %d images have %s and were left out", source, dropped, len(labels), why)
    objects = packed.select_objects(same & ~packed.iscrowd)
    column = ImageLabels(labels, ids=tuple(category.id for category in packed.categories))
    return replace(objects, columns={**objects.columns, "image_label": column}).select_images(kept)
