"""`InstanceMaps`: data sets with masks of objects as label maps, panoptic maps and weights of pixels."""

from __future__ import annotations

import copy
from collections.abc import Collection, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from detkit.coco_files import read_coco_file
from detkit.data.formats.open_dataset import open_split
from detkit.data.image_dataset import ImageDataset
from detkit.data.instance_maps.nearest_objects import separation_weights, two_nearest
from detkit.data.instance_maps.painted_masks import paint_masks
from detkit.errors import InputError
from detkit.files.annotation_formats import Format
from detkit.structures import Category, Target
from detkit.structures.categories import to_coco
from detkit.structures.image_fields import INSTANCES, label_map_dtype

_OWN = frozenset({"label_map", "panoptic_map", "pixel_weights"})


class InstanceMaps(ImageDataset):
    """A data set with masks, whose targets also have the class of each pixel: the background, the classes of the
    objects and, on request, the border between objects that touch.

    A pixel of several objects belongs to the one with the smallest mask.

    Args:
        split: such as ``train``.
        root: a folder in a format with masks; ``data.root`` of a config.
        format: of the folder; None: detected.
        class_names: as of `open_split`.
        background: the name of the background, the first class; that of the data if its first class is stuff of this
            name.
        border: a pixel belongs to the border if the distances to the two nearest objects add up to at most this many
            pixels; 0: there is no such class.
        border_name: the name of that class, the last one; if it is that of the background, borders belong to that, as
            in U-Net (Ronneberger 2015, section 3).
        separation: the largest of `separation_weights`, to which ``pixel_weights`` add the weight of the class.
        sigma: their reach in pixels.
        class_weights: of all classes in the order of their labels; None: 1.

    Raises:
        InputError: the split is missing or wrong, it has no masks, or a value is out of range.
    """

    def __init__(
        self,
        split: str,
        root: str | Path | None = None,
        format: Format | None = None,
        class_names: list[str] | None = None,
        background: str = "background",
        border: float = 0.0,
        border_name: str = "border",
        separation: float = 10.0,
        sigma: float = 5.0,
        class_weights: list[float] | None = None,
    ) -> None:
        if root is None:
            raise InputError("InstanceMaps: there is no folder: give data.root")
        if border < 0 or separation < 0 or sigma <= 0:
            raise InputError(
                f"InstanceMaps needs border and separation of at least 0 and a positive sigma, got {border}, "
                f"{separation} and {sigma}"
            )
        self.objects = open_split(Path(root), split, format, class_names, {"masks"})
        self.annotations_path = self.objects.annotations_path
        self.border, self.separation, self.sigma = border, separation, sigma
        own = self.objects.categories
        has_background = not own[0].is_thing and own[0].name == background
        self._first_label = 0 if has_background else 1
        first, last = min(0, own[0].id - 1), own[-1].id + 1
        added = [] if has_background else [Category(first, background, is_thing=False)]
        borders = [Category(last, border_name, is_thing=False)] if border and border_name != background else []
        self._categories = [*added, *own, *borders]
        self._border_label = len(self._categories) - 1 if borders else 0
        names = [category.name for category in self._categories]
        if len(set(names)) != len(names):
            raise InputError(f"InstanceMaps: the names {background!r} and {border_name!r} must not be those of classes")
        if class_weights is not None and (len(class_weights) != len(names) or min(class_weights) < 0):
            raise InputError(
                f"InstanceMaps needs class_weights of at least 0 for {', '.join(names)}, got {class_weights}"
            )
        self.class_weights = torch.tensor(class_weights or [1.0] * len(names), device="cpu")
        self.reads: frozenset[str] = frozenset({"label_map"})

    @property
    def categories(self) -> list[Category]:
        """The background, the classes of objects, and the border if there is one."""
        return self._categories

    @property
    def image_ids(self) -> Sequence[Any]:
        """The ids, in the order of the data set."""
        return self.objects.image_ids

    @property
    def image_sizes(self) -> np.ndarray:
        """``(n, 2)`` height and width in pixels."""
        return self.objects.image_sizes

    def check_fields(self, names: Collection[str]) -> None:
        super().check_fields(names)
        self.objects.check_fields(set(names) - _OWN)

    def reading(self, names: Collection[str]) -> Self:
        self.check_fields(names)
        other = copy.copy(self)
        other.objects = self.objects.reading(set(names) - _OWN)
        other.reads = self.reads | set(names)
        return other

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """The image, and its target; see `target`."""
        return self.objects.read_image(index), self.target(index)

    def target(self, index: int) -> Target:
        """The objects, with the labels of `categories`, and the maps; without reading the image."""
        given = self.objects.target(index)
        if given.masks is None or given.labels is None:
            raise InputError(f"{self.annotations_path}: image {given.image_id!r} has no masks, of which maps are made")
        labels = given.labels + self._first_label
        panoptic = paint_masks(given.masks, labels, given.iscrowd)
        dtype = label_map_dtype(len(self._categories))
        label_map = torch.where(panoptic < 0, 0, panoptic // INSTANCES).to(dtype)
        target = replace(given, labels=labels, masks=given.masks if "masks" in self.reads else None)
        if self.border:
            first, second = two_nearest(panoptic, self.border)
            is_border = torch.from_numpy(first + second <= self.border)
            label_map[is_border] = self._border_label
            panoptic[is_border] = self._border_label * INSTANCES
        panoptic[panoptic < 0] = 0
        maps: dict[str, Any] = {"label_map": label_map, "panoptic_map": panoptic}
        if "pixel_weights" in self.reads:
            own = self.class_weights[label_map.long()]
            maps["pixel_weights"] = own + separation_weights(given.masks, self.separation, self.sigma)
        return replace(target, **{name: value for name, value in maps.items() if name in self.reads})

    def ground_truth(self) -> dict:
        """The content of a COCO file of the objects, with all classes."""
        truth = self.objects.ground_truth()
        content = read_coco_file(truth) if isinstance(truth, Path) else truth
        return {**content, "categories": [to_coco(category) for category in self._categories]}
