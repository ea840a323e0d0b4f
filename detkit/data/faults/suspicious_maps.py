"""Label maps that look wrong: read as no class, a single class for everything, classes that never occur."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from detkit.data.faults.problem import counted
from detkit.data.image_dataset import ImageDataset
from detkit.data.spread import evenly_spread
from detkit.structures.image_fields import IGNORE_INDEX

MOST_IMAGES = 64
"""So many label maps are read, spread evenly."""

FEW_IMAGES = 16
"""So many are read before each training."""

_BINARY = "of masks of 0 and 255, say so in a classes.json, see docs/data.md, or write the ids of categories"
_MOSTLY = 0.9  # of the pixels of a map, or of the maps
_RARE = 0.001  # of the pixels


def suspicious_maps(dataset: ImageDataset) -> list[str]:
    """A sentence for each sign that label maps are not what is meant, by some of them.

    Args:
        dataset: one that reads ``label_map``.
    """
    ids, maps, without = _pixels(dataset, MOST_IMAGES)
    names = [category.name for category in dataset.categories]
    found = [*_without_map(without, len(ids) + len(without)), *_useless(ids, maps, names)]
    found += _rare(maps[:, :-1].sum(axis=0), len(ids), names) if ids else []
    return [f"{dataset.annotations_path}: {sentence}" for sentence in found]


def useless_maps(dataset: ImageDataset) -> list[str]:
    """A sentence where nearly all pixels of a few label maps have no class, or all have one; of `suspicious_maps`."""
    ids, maps, _ = _pixels(dataset, FEW_IMAGES)
    names = [category.name for category in dataset.categories]
    return [f"{dataset.annotations_path}: {sentence}" for sentence in _useless(ids, maps, names)]


def _pixels(dataset: ImageDataset, most: int) -> tuple[list[Any], np.ndarray, list[Any]]:
    """Ids of images, the pixels of each class and last of none in their maps, and the ids of images without a map."""
    classes = len(dataset.categories)
    ids: list[Any] = []
    maps: list[np.ndarray] = []
    without: list[Any] = []
    for row in evenly_spread(len(dataset), most):
        label_map = dataset.target(row).label_map
        if label_map is None:
            without.append(dataset.image_ids[row])
            continue
        labels = label_map.numpy().astype(np.int64)
        labels = np.where(labels == IGNORE_INDEX[label_map.dtype], classes, labels)
        ids.append(dataset.image_ids[row])
        maps.append(np.bincount(labels.ravel(), minlength=classes + 1))
    return ids, np.array(maps, dtype=np.int64).reshape(-1, classes + 1), without


def _without_map(without: Sequence[Any], images: int) -> list[str]:
    if not without:
        return []
    return [f"{len(without)} of {counted(images, 'image')} have no label map and teach nothing, such as {without[0]!r}"]


def _useless(ids: Sequence[Any], counts: np.ndarray, names: Sequence[str]) -> list[str]:
    """What is wrong with maps whose pixels of each class, and last of none, are `counts`."""
    if not len(counts):
        return []
    void = counts[:, -1] / counts.sum(axis=1).clip(1)
    present = (counts[:, :-1] > 0).sum(axis=1)
    sentences = []
    ignored = np.flatnonzero(void > _MOSTLY)
    alone = np.flatnonzero((present == 1) & (void <= _MOSTLY))
    if len(ignored):
        sentences.append(
            f"{len(ignored)} of {counted(len(ids), 'label map')} have no class in more than {_MOSTLY:.0%} of their "
            f"pixels, such as that of image {ids[ignored[0]]!r}: 255 means no class, and so does 0 where no category "
            f"has that id; {_BINARY}"
        )
    if len(names) > 1 and len(alone) > _MOSTLY * len(ids) and len(ids) > 1:
        label = int(counts[alone, :-1].sum(axis=0).argmax())
        sentences.append(
            f"{len(alone)} of {counted(len(ids), 'label map')} hold one class alone, mostly {names[label]!r}, though "
            f"there are {len(names)} classes: "
            + (f"255 means no class; {_BINARY}" if counts[alone, -1].any() else "check the values of the PNG files")
        )
    return sentences


def _rare(pixels: np.ndarray, images: int, names: Sequence[str]) -> list[str]:
    """Classes without a pixel, and those that are hard to learn because of their few pixels."""
    sentences, total = [], max(int(pixels.sum()), 1)
    absent = [names[label] for label in np.flatnonzero(pixels == 0).tolist()]
    if absent and len(absent) < len(names):
        sentences.append(
            f"{_listed(absent)} never occur{'s' if len(absent) == 1 else ''} in {counted(images, 'label map')}"
        )
    rare = [names[label] for label in np.flatnonzero((pixels > 0) & (pixels < _RARE * total)).tolist()]
    if rare:
        sentences.append(
            f"{_listed(rare)} {'has' if len(rare) == 1 else 'have'} less than {_RARE:.1%} of the pixels each: weight "
            "the classes, as detkit.data.median_frequency_weights does, or choose a criterion of regions"
        )
    return sentences


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
