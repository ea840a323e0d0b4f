"""Joining the images and classes of two evaluations, which must have measured the same data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from detkit.errors import InputError
from detkit.evaluation import MeasuredData

_DECIMALS = 3
"""Of what objects are compared by, in pixels: files that were converted differ in rounding."""

_MOST_NAMED = 3


@dataclass(frozen=True, eq=False)
class Joined:
    """Where the second evaluation has what the first has.

    Args:
        images: int64 ``(I,)`` for each image of the second its position in the first.
        classes: int64 ``(K,)`` for each class of the first its position in the second.
        notes: sentences on what was joined by name.
    """

    images: np.ndarray
    classes: np.ndarray
    notes: tuple[str, ...]


def join_data(first: MeasuredData, second: MeasuredData, names: tuple[str, str] = ("A", "B")) -> Joined:
    """Join images by id, or by file name where the ids differ, and classes by name.

    Args:
        first: what the first evaluation has measured.
        second: what the second has.
        names: how messages name the two.

    Raises:
        InputError: images, classes, objects or settings differ; the message names the first that does.
    """
    if dict(first.settings) != dict(second.settings):
        raise InputError(
            f"{names[0]} is evaluated with {_shown(first)}, {names[1]} with {_shown(second)}, so that their numbers "
            "mean different things: evaluate both alike, as with --evaluators."
        )
    classes, class_note = _join_classes(first, second, names)
    images, image_note = _join_images(first, second, names)
    _check_objects(first, second, images, classes, names)
    return Joined(images, classes, tuple(note for note in (image_note, class_note) if note))


def _shown(data: MeasuredData) -> str:
    return ", ".join(f"{name} {value}" for name, value in data.settings.items())


def _join_classes(first: MeasuredData, second: MeasuredData, names: tuple[str, str]) -> tuple[np.ndarray, str]:
    ours, theirs = list(first.classes), list(second.classes)
    if ours == theirs:
        return np.arange(len(ours)), ""
    if Counter(ours) != Counter(theirs) or len(set(ours)) != len(ours):
        raise InputError(_differ("classes", ours, theirs, first, second, names))
    position = {name: row for row, name in enumerate(theirs)}
    return (
        np.array([position[name] for name in ours], dtype=np.int64),
        f"{first.source} and {second.source} list the classes in different orders, so they are joined by name",
    )


def _join_images(first: MeasuredData, second: MeasuredData, names: tuple[str, str]) -> tuple[np.ndarray, str]:
    files = [[data.image_names.get(one) for one in data.image_ids] for data in (first, second)]
    if set(first.image_ids) == set(second.image_ids) and not _contradict(first, second):
        position = {key: row for row, key in enumerate(first.image_ids)}
        return np.array([position[key] for key in second.image_ids], dtype=np.int64), ""
    has_names = all(None not in of and len(set(of)) == len(of) for of in files)
    if has_names and set(files[0]) == set(files[1]):
        position = {key: row for row, key in enumerate(files[0])}
        note = f"{first.source} and {second.source} number the images differently, so they are joined by file name"
        return np.array([position[key] for key in files[1]], dtype=np.int64), note
    if has_names and set(first.image_ids) == set(second.image_ids):
        raise InputError(_differ("images", files[0], files[1], first, second, names))
    raise InputError(_differ("images", first.image_ids, second.image_ids, first, second, names))


def _contradict(first: MeasuredData, second: MeasuredData) -> bool:
    """Whether one id stands for files of different names."""
    theirs = second.image_names
    return any(theirs.get(key, name) != name for key, name in first.image_names.items())


def _differ(
    what: str, ours: Sequence[Any], theirs: Sequence[Any], first: MeasuredData, second: MeasuredData,
    names: tuple[str, str],
) -> str:  # fmt: skip
    """The sentence on two lists of images or classes that are not the same."""
    missing = [
        f"only in {name}: {', '.join(map(repr, only[:_MOST_NAMED]))}{' …' if len(only) > _MOST_NAMED else ''}"
        for name, only in zip(names, (_only(ours, theirs), _only(theirs, ours)), strict=True)
        if only
    ]
    reason = f" ({'; '.join(missing)})" if missing else ""
    return (
        f"{names[0]} is evaluated on {len(ours)} {what} of {first.source}, {names[1]} on {len(theirs)} of "
        f"{second.source}, and they are not the same{reason}: give both the same data, as with --data.root."
    )


def _only(ours: Sequence[Any], theirs: Sequence[Any]) -> list[Any]:
    known = set(theirs)
    return [one for one in ours if one not in known]


def _check_objects(
    first: MeasuredData, second: MeasuredData, images: np.ndarray, classes: np.ndarray, names: tuple[str, str]
) -> None:
    """Raise an `InputError` that names the first image whose objects differ."""
    back = np.argsort(classes)  # for each class of the second its position in the first
    ours = _rows(first.images, first.labels, first.values)
    theirs = _rows(images[second.images], back[second.labels], second.values)
    if ours.shape == theirs.shape and np.array_equal(ours, theirs):
        return
    differing = [
        row for row in range(len(images)) if not np.array_equal(ours[ours[:, 0] == row], theirs[theirs[:, 0] == row])
    ]
    image_id = first.image_ids[differing[0]]
    raise InputError(
        f"The ground truth of {names[0]}, {first.source}, is not that of {names[1]}, {second.source}: the objects of "
        f"{len(differing)} of {len(images)} images differ, image {image_id!r} first; give both the same annotations."
    )


def _rows(images: np.ndarray, labels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """The objects ``(N, 2 + V)`` in an order that does not depend on the file's."""
    rows = np.concatenate([images[:, None], labels[:, None], np.round(values, _DECIMALS) + 0.0], axis=1)
    return rows[np.lexsort(rows.T[::-1])]
