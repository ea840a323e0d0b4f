"""Two classes whose labels are swapped in one of two splits: their objects are as many and as large as the other's."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from detkit.data.image_dataset import ImageDataset

_LEAST = 15  # objects of a class in each split, of which something can be said
_CLUSTERED = 4.0  # objects of one image are alike, so that means vary more than those of as many independent ones
# Of 6 normal numbers the sum of squares is 6 on average, and above 20 in 3 of 1000 cases.
_FAR, _NEAR = 60.0, 20.0


def swapped_classes(first: ImageDataset, second: ImageDataset) -> list[str]:
    """A sentence for each pair of classes that look swapped between two splits with the same classes."""
    measured = [_measured(dataset) for dataset in (first, second)]
    if any(one is None for one in measured):
        return []
    pairs = swapped_pairs(*(one for one in measured if one is not None))
    names = [category.name for category in first.categories]
    return [
        f"the classes {names[a]!r} and {names[b]!r} look swapped in one of the two splits: {names[a]!r} is as frequent "
        f"and as large in {first.annotations_path} as {names[b]!r} is in {second.annotations_path}, and the other way "
        "round; look at images of both splits, and correct the labels or the order of the classes"
        for a, b in pairs
    ]


def swapped_pairs(first: tuple[np.ndarray, np.ndarray], second: tuple[np.ndarray, np.ndarray]) -> list[tuple[int, int]]:
    """The classes whose frequencies and sizes fit only if they are swapped.

    Args:
        first: mean and variance of the mean ``(K, 3)`` of the log of share, width and height of each class; NaN for
            classes of too few objects.
        second: of the other split.
    """
    (means, variances), (others, their_variances) = first, second
    distances = ((means[:, None] - others[None]) ** 2 / (variances[:, None] + their_variances[None])).sum(
        axis=2
    )  # (K, K)
    known = np.flatnonzero(np.isfinite(np.diagonal(distances)))
    far = [
        (distances[a, a] + distances[b, b], int(a), int(b))
        for a, b in combinations(known, 2)
        if distances[a, a] + distances[b, b] > _FAR and distances[a, b] + distances[b, a] < _NEAR
    ]
    found: list[tuple[int, int]] = []
    for _, a, b in sorted(far, reverse=True):
        if not any(a in pair or b in pair for pair in found):
            found.append((a, b))
    return found


def _measured(dataset: ImageDataset) -> tuple[np.ndarray, np.ndarray] | None:
    packed = dataset.packed_annotations
    if packed is None or dataset.has_image_labels:
        return None
    sides = packed.boxes[:, 2:] - packed.boxes[:, :2]
    usable = ~packed.iscrowd & (sides > 0).all(axis=1)
    labels, logs = packed.labels[usable], np.log(sides[usable].astype(np.float64))
    return measured_classes(labels, logs, len(dataset.categories))


def measured_classes(labels: np.ndarray, logs: np.ndarray, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """What `swapped_pairs` takes of a split.

    Args:
        labels: int64 ``(N,)``.
        logs: ``(N, 2)`` of width and height.
        classes: their number K.
    """
    means, variances = np.full((2, classes, 3), np.nan)
    for label in range(classes):
        own = logs[labels == label]
        if len(own) >= _LEAST:
            means[label] = [np.log(len(own) / len(labels)), *own.mean(axis=0)]
            variances[label] = np.array([1.0, *(own.var(axis=0) + 1e-3)]) * _CLUSTERED / len(own)
    return means, variances
