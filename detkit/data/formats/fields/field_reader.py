"""The base class of readers of a field of targets, and the values of entries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from detkit.data.packed.columns import Column
from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.structures.categories import Category


class CocoFile(NamedTuple):
    """The file that a reader reads from.

    Args:
        path: of the file, for messages.
        images_path: the folder that file names are relative to.
        categories: in the order of the labels.
        image_sizes: ``(height, width)`` by the id of the image.
        annotations: all of the file, for fields of images that objects state.
    """

    path: Path
    images_path: Path
    categories: Sequence[Category]
    image_sizes: Mapping[Any, tuple[int, int]] = MappingProxyType({})
    annotations: Sequence[dict[str, Any]] = ()


class FieldReader:
    """Base class of readers of one field of all targets.

    Attributes:
        per_object: whether the field belongs to objects, else to images.
    """

    per_object = True

    def read(self, entries: Sequence[dict[str, Any]], file: CocoFile) -> Column | None:
        """Read the field of all entries; None where the file does not annotate it.

        Args:
            entries: the file's entries of all objects, ordered by image, or of all images.
            file: which they are from.

        Raises:
            InputError: an entry is wrong, or the field is not in the file.
        """
        raise NotImplementedError


def numbers_of(value: Any, shape: tuple[int, ...], dtype: str, name: str) -> np.ndarray:
    """The number, or nested lists of numbers, that an entry holds.

    Args:
        value: as it stands in the file.
        shape: of the numbers; () for a single one.
        dtype: of the result, a numpy name.
        name: of the value, for messages.

    Raises:
        InputError: it is something else.
    """
    try:
        array = np.array(value)
        cast = array.astype(dtype) if array.dtype.kind in "iufb" else np.array(None)
    except (ValueError, OverflowError, RecursionError):
        array = cast = np.array(None)
    is_whole = np.dtype(dtype).kind in "iu"
    is_valid = cast.dtype.kind != "O" and array.shape == shape and np.isfinite(array).all() and np.isfinite(cast).all()
    if not is_valid or (is_whole and (array != cast).any()):
        kind = "whole numbers" if is_whole else "finite numbers"
        raise InputError(f"{name} is {shown(value)}; it must be {kind} of shape {shape}")
    return cast


def annotation_name(annotation: Mapping[str, Any]) -> str:
    """The name of an annotation in messages."""
    return f"annotation {annotation.get('id')!r} of image {annotation.get('image_id')!r}"
