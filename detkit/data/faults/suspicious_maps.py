"""Label maps that look wrong: read as no class, a single class for everything, classes that never occur."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from detkit.data.faults.problem import Sign, counted
from detkit.data.image_dataset import ImageDataset
from detkit.data.spread import evenly_spread
from detkit.errors import InputError
from detkit.structures.image_fields import IGNORE_INDEX

MOST_IMAGES = 64
"""So many label maps are read, spread evenly."""

FEW_IMAGES = 16
"""So many are read before each training."""

_BINARY = "of masks of 0 and 255, say so in a classes.json, see docs/data.md, or write the ids of categories"
_MOSTLY = 0.9  # of the pixels of a map, or of the maps
_RARE = 0.001  # of the pixels


@dataclass(frozen=True, eq=False)
class MapPixels:
    """What the label maps of some images hold.

    Args:
        names: of the K classes.
        image_ids: of the images with a map that can be read.
        counts: int64 ``(n, K + 1)`` the pixels of each class in them, and last of none.
        without: the ids of images without a map.
        faults: why maps cannot be read.
    """

    names: Sequence[str]
    image_ids: Sequence[Any]
    counts: np.ndarray
    without: Sequence[Any]
    faults: Sequence[str] = ()

    @classmethod
    def of(cls, dataset: ImageDataset, most: int, raises: bool = True) -> Self:
        """Count them.

        Args:
            dataset: one that reads ``label_map``.
            most: the most maps that are read, spread evenly.
            raises: False lists the maps that cannot be read.
        """
        names = [category.name for category in dataset.categories]
        ids: list[Any] = []
        maps: list[np.ndarray] = []
        without: list[Any] = []
        faults: list[str] = []
        for row in evenly_spread(len(dataset), most):
            try:
                label_map = dataset.target(row).label_map
            except InputError as error:
                if raises:
                    raise
                faults.append(str(error))
                continue
            if label_map is None:
                without.append(dataset.image_ids[row])
                continue
            labels = label_map.numpy().astype(np.int64)
            labels = np.where(labels == IGNORE_INDEX[label_map.dtype], len(names), labels)
            ids.append(dataset.image_ids[row])
            maps.append(np.bincount(labels.ravel(), minlength=len(names) + 1))
        return cls(names, ids, np.array(maps, dtype=np.int64).reshape(-1, len(names) + 1), without, faults)


def suspicious_maps(dataset: ImageDataset) -> list[str]:
    """A sentence for each sign that label maps are not what is meant, by some of them.

    Args:
        dataset: one that reads ``label_map``.
    """
    pixels = MapPixels.of(dataset, MOST_IMAGES)
    found = [*_without_map(pixels), *map(str, useless_maps(pixels)), *_rare(pixels)]
    return [f"{dataset.annotations_path}: {sentence}" for sentence in found]


def _without_map(pixels: MapPixels) -> list[str]:
    without = pixels.without
    if not without:
        return []
    images = counted(len(without) + len(pixels.image_ids), "image")
    return [f"{len(without)} of {images} have no label map and teach nothing, such as {without[0]!r}"]


def useless_maps(pixels: MapPixels) -> list[Sign]:
    """Where nearly all pixels of maps have no class, or all have one."""
    ids, counts, names = pixels.image_ids, pixels.counts, pixels.names
    if not len(counts):
        return []
    void = counts[:, -1] / counts.sum(axis=1).clip(1)
    present = (counts[:, :-1] > 0).sum(axis=1)
    signs = []
    ignored = np.flatnonzero(void > _MOSTLY)
    alone = np.flatnonzero((present == 1) & (void <= _MOSTLY))
    if len(ignored):
        signs.append(
            Sign(
                f"{len(ignored)} of {counted(len(ids), 'label map')} have no class in more than {_MOSTLY:.0%} of their "
                f"pixels, such as that of image {ids[ignored[0]]!r}: 255 means no class, and so does 0 where no "
                "category has that id",
                _BINARY,
            )
        )
    if len(names) > 1 and len(alone) > _MOSTLY * len(ids) and len(ids) > 1:
        label = int(counts[alone, :-1].sum(axis=0).argmax())
        signs.append(
            Sign(
                f"{len(alone)} of {counted(len(ids), 'label map')} hold one class alone, mostly {names[label]!r}, "
                f"though there are {len(names)} classes",
                f"255 means no class: {_BINARY}" if counts[alone, -1].any() else "check the values of the PNG files",
            )
        )
    return signs


def _rare(pixels: MapPixels) -> list[str]:
    """Classes without a pixel, and those that are hard to learn because of their few pixels."""
    of_classes, names = pixels.counts[:, :-1].sum(axis=0), pixels.names
    sentences, total = [], max(int(of_classes.sum()), 1)
    absent = [names[label] for label in np.flatnonzero(of_classes == 0).tolist()]
    if absent and len(absent) < len(names):
        sentences.append(
            f"{_listed(absent)} never occur{'s' if len(absent) == 1 else ''} in "
            f"{counted(len(pixels.image_ids), 'label map')}"
        )
    rare = [names[label] for label in np.flatnonzero((of_classes > 0) & (of_classes < _RARE * total)).tolist()]
    if rare:
        sentences.append(
            f"{_listed(rare)} {'has' if len(rare) == 1 else 'have'} less than {_RARE:.1%} of the pixels each: weight "
            "the classes, as detkit.data.median_frequency_weights does, or choose a criterion of regions"
        )
    return sentences


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names[:10]) + (" …" if len(names) > 10 else "")
