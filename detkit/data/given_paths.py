"""Splits whose images folder and COCO annotations are given by their paths, in part or both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detkit.categories import Category
from detkit.data.annotations import read_categories
from detkit.data.coco import CocoDataset, find_split
from detkit.data.formats import Format, format_of
from detkit.errors import InputError

Paths = tuple[Path | None, Path | None]
"""Of a split the images folder and the annotation file."""


def open_given(split: str, paths: Paths, root: Path | None, name: str, reading: Mapping[str, Any]) -> CocoDataset:
    """A split of which at least one path is given.

    Args:
        split: how the config calls it.
        paths: as given.
        root: the folder in which the other one is found.
        name: how `root` calls the split.
        reading: what is read of annotations, and how bad ones are taken.

    Raises:
        InputError: a path is missing or wrong.
    """
    images, annotations = paths
    if images is None or annotations is None:
        if root is None:
            raise missing_paths(split, paths)
        found_images, found_annotations = find_split(root, name)
        images, annotations = images or found_images, annotations or found_annotations
    return CocoDataset(images, annotations, **reading)


def missing_paths(split: str, paths: Paths) -> InputError:
    """The error of a split that is nowhere."""
    missing = [f"data.{split}_{kind}" for kind, path in zip(("images", "annotations"), paths, strict=True) if not path]
    return InputError(f"give {' and '.join(missing)}, or data.root to find the {split} split there")


def categories_alone(
    annotations: Path | None, root: Path | None, name: str, format: Format | None
) -> list[Category] | None:
    """The classes of a split without its images and objects; None where they cannot be had so.

    Args:
        annotations: the COCO file, if it is given.
        root: the folder in which it is found else.
        name: how `root` calls the split.
        format: of `root`; None to find out.
    """
    if annotations is not None:
        return read_categories(annotations)
    if root is None or (format or format_of(root)) != "coco":
        return None
    return read_categories(find_split(root, name)[1])
