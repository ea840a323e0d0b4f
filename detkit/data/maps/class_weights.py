"""Weights of classes from how many pixels of a data set they have."""

from __future__ import annotations

import numpy as np

from detkit.data.image_dataset import ImageDataset
from detkit.errors import InputError
from detkit.structures.image_fields import IGNORE_INDEX


def median_frequency_weights(dataset: ImageDataset) -> list[float]:
    """The weight of each class by median frequency balancing (Eigen and Fergus 2015, section 6.3.2; SegNet, section 4).

    ``median(f) / f_c``, where ``f_c`` is the share of the pixels of class ``c`` in those of the images that have any.
    Pixels without a class do not count. For ``class_weights`` of `detkit.heads.pixel.criteria.CrossEntropy`.

    Args:
        dataset: its label maps are read, and its images where they lie together.

    Returns:
        One weight per category; 0 for a class that no pixel has.

    Raises:
        InputError: no image has a label map with a class, or a label map has one that the data set does not.
    """
    dataset = dataset.reading({"label_map"})
    classes = len(dataset.categories)
    own, seen = np.zeros(classes, np.int64), np.zeros(classes, np.int64)
    for index, image_id in enumerate(dataset.image_ids):
        label_map = dataset.target(index).label_map
        if label_map is None:
            continue
        labels = label_map.numpy()
        labels = labels[labels != IGNORE_INDEX[label_map.dtype]]
        counts = np.bincount(labels, minlength=classes)
        if len(counts) > classes:
            raise InputError(
                f"{dataset.annotations_path}: the label map of image {image_id!r} has class {len(counts) - 1}, but the "
                f"categories are 0..{classes - 1}"
            )
        own += counts
        seen += np.where(counts > 0, len(labels), 0)
    present = own > 0
    if not present.any():
        raise InputError(
            f"{dataset.annotations_path}: no image has a label map with a class, which weights are made of"
        )
    frequencies = own[present] / seen[present]
    weights = np.zeros(classes)
    weights[present] = np.median(frequencies) / frequencies
    return [float(weight) for weight in weights]
