"""The files that objects name, and the rotation and translation of each, read from the entries of a COCO file."""

from __future__ import annotations

import logging
import os
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.data.formats.fields.field_reader import CocoFile, annotation_name, numbers_of
from detkit.data.packed.shape_columns import FROM_MESH_RCNN, Poses
from detkit.errors import InputError
from detkit.files import named_beside
from detkit.files.json_values import shown

logger = logging.getLogger(__name__)

_TOLERANCE = 0.01  # of the products of a rotation's rows: files state few digits


def read_posed_files(
    entries: Sequence[dict[str, Any]], file: CocoFile, key: str, suffixes: Collection[str]
) -> tuple[np.ndarray, Poses]:
    """The path of each object's file ``(m,)``, empty where it has none, and its pose, see `Poses`.

    A warning gives the number of objects without a file.

    Args:
        entries: of all objects, ordered by image.
        file: which they are from.
        key: of the path, which is relative to the annotation file or to the folder above it.
        suffixes: those of such files.

    Raises:
        InputError: no object has such a file, some objects of an image have none, or a value is wrong.
    """
    is_named = [entry.get(key) is not None for entry in entries]
    if entries and not any(is_named):
        raise InputError(
            f"{file.path}: no object has a {key!r}, the path of a file ({', '.join(suffixes)}), so it cannot be read "
            "from this file"
        )
    _check_whole_images(entries, is_named, file, key)
    _warn_of_unnamed(entries, is_named, file, key)
    found: dict[str, str] = {}
    paths, poses = [""] * len(entries), np.zeros((len(entries), 3, 4))
    for row, entry in enumerate(entries):
        if is_named[row]:
            name = f"{file.path}: {annotation_name(entry)}"
            paths[row] = _path(entry[key], found, file.path, f"{name}: its {key}", suffixes)
            poses[row] = read_pose(entry, f"{name}, which has a {key},")
    return np.array(paths), poses


def read_pose(entry: dict[str, Any], name: str) -> np.ndarray:
    """The pose ``(3, 4)`` in an entry, from the coordinates of a file to the camera frame.

    Raises:
        InputError: ``rot_mat`` or ``trans_mat`` is missing, or is no rotation or translation; the message calls the
            entry `name`.
    """
    for key in ("rot_mat", "trans_mat"):
        if entry.get(key) is None:
            raise InputError(f"{name} has no {key!r}: give the rotation and translation to the camera")
    rotation = numbers_of(entry["rot_mat"], (3, 3), "float64", f"{name} has a rot_mat that")
    translation = numbers_of(entry["trans_mat"], (3,), "float64", f"{name} has a trans_mat that")
    products = rotation @ rotation.T
    if np.abs(products - np.eye(3)).max() > _TOLERANCE or np.linalg.det(rotation) < 0:
        raise InputError(
            f"{name} has the rot_mat {shown(rotation.tolist())}, which is no rotation: its rows must be orthogonal, of "
            "length 1, and right-handed"
        )
    pose: np.ndarray = FROM_MESH_RCNN @ np.column_stack([rotation, translation])
    return pose


def _path(name: Any, found: dict[str, str], source: Path, called: str, suffixes: Collection[str]) -> str:
    """The path of a file that is there; `found` holds those of names that were looked up."""
    if not isinstance(name, str) or not name.lower().endswith(tuple(suffixes)):
        raise InputError(f"{called} is {shown(name)}; it must be the path of a file ({', '.join(suffixes)})")
    if name not in found:
        path = named_beside(source, name)
        if not os.path.isfile(path):
            raise InputError(f"{called} {shown(name, 300)} is neither in {source.parent} nor in the folder above it")
        found[name] = path
    return found[name]


def _check_whole_images(entries: Sequence[dict[str, Any]], is_named: Sequence[bool], file: CocoFile, key: str) -> None:
    """Of an image, all objects have a file or none has; crowds need none."""
    named = {entry["image_id"] for entry, one in zip(entries, is_named, strict=True) if one}
    for entry, one in zip(entries, is_named, strict=True):
        if not one and entry["image_id"] in named and not _is_crowd(entry):
            raise InputError(
                f"{file.path}: {annotation_name(entry)} has no {key!r}, but other objects of the image have one: add it"
            )


def _warn_of_unnamed(entries: Sequence[dict[str, Any]], is_named: Sequence[bool], file: CocoFile, key: str) -> None:
    """Log how many objects beside crowds have no file."""
    objects = [(entry, one) for entry, one in zip(entries, is_named, strict=True) if not _is_crowd(entry)]
    without = [entry for entry, one in objects if not one]
    if without:
        logger.warning(
            "%s: %d of %d objects have no %r (first: %s): they teach no shape",
            file.path, len(without), len(objects), key, annotation_name(without[0]),
        )  # fmt: skip


def _is_crowd(entry: dict[str, Any]) -> bool:
    return bool(entry.get("iscrowd") or entry.get("ignore"))
