"""How many times an epoch shows each image, so that rare classes are seen more often.

Gupta, Dollár, Girshick, "LVIS: A Dataset for Large Vocabulary Instance Segmentation", 2019, arXiv:1908.03195v2,
appendix B.2: with the fraction f(c) of the images that hold the class c and a threshold t, a class has the factor
r(c) = max(1, sqrt(t / f(c))), and an image the largest factor of its classes.
"""

from __future__ import annotations

import numpy as np

from detkit.data.image_dataset import ImageDataset


def repeat_factors(dataset: ImageDataset, threshold: float | None) -> np.ndarray | None:
    """The factor of each image: 1 where all its classes are in at least that fraction of the images.

    Args:
        dataset: the training images. Crowd regions do not count as objects; an image without objects has the factor 1.
        threshold: the fraction t of the images, above 0; None: no image is repeated.

    Returns:
        float64 ``(n,)``, at least 1; None without a threshold.
    """
    if threshold is None:
        return None
    images, labels = _classes_of_images(dataset)
    # Each class once per image, however many objects of it there are.
    images, labels = np.unique(np.stack((images, labels)), axis=1)
    frequencies = np.bincount(labels, minlength=len(dataset.categories)) / len(dataset)
    of_classes = np.sqrt(threshold / frequencies.clip(1 / len(dataset))).clip(1)
    factors = np.ones(len(dataset))
    np.maximum.at(factors, images, of_classes[labels])
    return factors


def _classes_of_images(dataset: ImageDataset) -> tuple[np.ndarray, np.ndarray]:
    """The image and the class of each object or, where images have a class, of each image."""
    packed = dataset.packed_annotations
    if packed is not None:
        if dataset.has_image_labels:
            return np.arange(len(dataset)), packed.image_labels
        counted = ~packed.iscrowd
        return np.repeat(np.arange(len(dataset)), np.diff(packed.offsets))[counted], packed.labels[counted]
    images: list[int] = []
    labels: list[int] = []
    for index in range(len(dataset)):
        target = dataset.target(index)
        target = target.objects()
        found = [] if target.labels is None else target.labels.tolist()
        labels += found if target.image_label is None else [target.image_label]
        images += [index] * (len(labels) - len(images))
    return np.array(images, dtype=np.int64), np.array(labels, dtype=np.int64)
