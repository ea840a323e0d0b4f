"""Locate and open the splits of a data set as the config describes it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from detkit.data.formats.coco import CocoDataset, find_annotations, find_images, find_split
from detkit.data.formats.coco_annotations import read_categories
from detkit.data.formats.open_dataset import format_of, has_split_of, open_split
from detkit.data.image_dataset import ImageDataset
from detkit.data.packed.held_out import HeldOut
from detkit.errors import InputError
from detkit.files.annotation_formats import Format
from detkit.structures.categories import Category

Split = Literal["train", "val", "test"]
Paths = tuple[Path | None, Path | None]


@dataclass(frozen=True)
class Splits:
    """The config's description of where the data is.

    Args:
        make: a data set class, called with the name of a split, and with `root` if it is given, instead of detkit's.
        root: the folder of all splits; None where paths are given or `Shapes` are drawn.
        format: the format of `root`; None: detected.
        names: the names of the splits in `root`.
        paths: images folder and annotation file of each split, in place of those found under `root`.
        class_names: of VOC, LabelMe and CVAT, the classes in the order of their labels.
        drawn: draws the `Shapes` and gives their folder.
        val_fraction: the share of the training images that are the split val where `root` has none; None: none.
    """

    make: Callable[..., ImageDataset] | None
    root: Path | None
    format: Format | None
    names: Mapping[Split, str]
    paths: Mapping[Split, Paths]
    class_names: Sequence[str] | None
    drawn: Callable[[], Path]
    val_fraction: float | None = None

    @property
    def draws(self) -> bool:
        """Whether the data is drawn `Shapes`."""
        is_given = any(path for paths in self.paths.values() for path in paths)
        return self.root is None and self.make is None and not is_given

    def categories(self) -> list[Category] | None:
        """The classes of the training split, read without its images and objects; None where that is impossible."""
        annotations = self.paths["train"][1]
        if self.make is None and annotations is not None:
            return read_categories(annotations)
        root = self.root or (self.drawn() if self.draws else None)
        if self.make is not None or root is None or (self.format or format_of(root)) != "coco":
            return None
        return read_categories(find_split(root, self.names["train"])[1])

    def open(self, split: Split, reading: Mapping[str, Any]) -> ImageDataset:
        """Open a split.

        Args:
            split: train, val or test.
            reading: options of `open_split`: the fields to read and how to treat bad annotations.

        Raises:
            InputError: the split is missing or wrong.
        """
        if self.make is not None:
            return self._made(self.make, self.names[split])
        images, annotations = self.paths[split]
        if images and annotations:
            return CocoDataset(images, annotations, **reading)
        if self.root is None and not self.draws:
            missing = [
                f"data.{split}_{kind}" for kind, path in (("images", images), ("annotations", annotations)) if not path
            ]
            raise InputError(f"give {' and '.join(missing)}, or data.root to find the {split} split there")
        root, name = self.root or self.drawn(), self.names[split]
        if images:
            return CocoDataset(images, find_annotations(root, name), **reading)
        if annotations:
            return CocoDataset(find_images(root, name, annotations, any_folder=True), annotations, **reading)
        if split in ("train", "val") and not any(self.paths["val"]) and not self._has_val(root):
            if self.val_fraction is not None:
                whole = open_split(root, self.names["train"], self.format, self.class_names, **reading)
                return whole.part(HeldOut(self.val_fraction, split == "val"))
            if split == "val" and has_split_of(root, self.names["train"], self.format):
                try:
                    return open_split(root, name, self.format, self.class_names, **reading)
                except InputError as error:
                    hint = "or hold out a part of its training images for validation with --data.val_fraction 0.2"
                    raise InputError(f"{error}; {hint}") from error
        return open_split(root, name, self.format, self.class_names, **reading)

    def _made(self, make: Callable[..., ImageDataset], name: str) -> ImageDataset:
        if self.root is None:
            return make(name)
        try:
            inspect.signature(make).bind(name, root=self.root)
        except TypeError as error:
            raise InputError(
                f"data.root is {self.root}, but data.dataset takes no root: leave out data.root, or let the class have "
                "an argument root"
            ) from error
        return make(name, root=self.root)

    def _has_val(self, root: Path) -> bool:
        return has_split_of(root, self.names["val"], self.format)
