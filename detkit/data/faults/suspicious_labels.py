"""Labels that look shifted or lost: an empty first class, a class of background, one class for everything."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np

from detkit.data.faults.problem import Sign
from detkit.data.image_dataset import ImageDataset

_BACKGROUND = frozenset({"background", "__background__", "_background_", "bg", "none"})


def suspicious_labels(dataset: ImageDataset) -> list[str]:
    """A sentence for each sign that labels are not those that are meant."""
    packed, names = dataset.packed_annotations, [category.name for category in dataset.categories]
    if packed is None or not names:
        return []
    labels = packed.image_labels if dataset.has_image_labels else packed.labels[~packed.iscrowd]
    stuff = {category.name for category in dataset.categories if not category.is_thing}
    sign = wrong_labels(names, labels, stuff)
    return [f"{dataset.annotations_path}: {sign}"] if sign is not None else []


def wrong_labels(names: Sequence[str], labels: np.ndarray, stuff: Collection[str] = ()) -> Sign | None:
    """The first sign that labels are not those that are meant; None without one.

    Args:
        names: of the classes.
        labels: int64, of all objects or images.
        stuff: the names of classes that have no objects.
    """
    if len(labels) == 0 or not names:
        return None
    counts = np.bincount(labels, minlength=len(names))
    things = [label for label, name in enumerate(names) if name not in stuff or counts[label]]
    names, counts = [names[label] for label in things], counts[things]
    return _background(names, counts) or _one_class(names, counts) or _shifted(names, counts)


def _background(names: Sequence[str], counts: np.ndarray) -> Sign | None:
    found = [name for name, count in zip(names, counts, strict=True) if name.lower() in _BACKGROUND and count == 0]
    if not found:
        return None
    return Sign(
        f"the class {found[0]!r} has no object: background is no class here, labels count from 0 without it",
        "remove it from the classes",
    )


def _one_class(names: Sequence[str], counts: np.ndarray) -> Sign | None:
    present = np.flatnonzero(counts)
    if len(names) < 2 or len(present) > 1 or counts.sum() < 10:
        return None
    return Sign(
        f"all {counts.sum()} labels are {names[present[0]]!r}, though there are {len(names)} classes: the classes look "
        "lost",
        "check the labels",
    )


def _shifted(names: Sequence[str], counts: np.ndarray) -> Sign | None:
    if len(names) < 3 or counts[0] > 0 or not counts[1:].all() or counts.sum() < 10:
        return None
    return Sign(
        f"the first class, {names[0]!r}, never occurs, and all others do: labels look counted from 1, but are read as "
        "counted from 0",
        "subtract 1 from them, or correct the names",
    )
