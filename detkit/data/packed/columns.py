"""Columns: one field of all targets of a data set, packed in a few arrays that worker processes share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from detkit.coco_files.mask_files import read_mask
from detkit.coco_files.segmentations import box_rings
from detkit.data.packed.packed_json import PackedJson
from detkit.errors import InputError
from detkit.geometry import Size
from detkit.ops import RunLengths, polygons_to_rle, rle_to_masks


class ImageFacts(NamedTuple):
    """The facts about an image that a column may need to build a field of its target.

    Args:
        size: (height, width).
        boxes: ``(N, 4)`` float32 of its objects.
        image_id: for messages.
        source: the file of the annotations, for messages.
    """

    size: Size
    boxes: np.ndarray | None
    image_id: Any
    source: str


class Column:
    """Base class of columns: a row for each object of the data set, in the order of the images, or for each image."""

    per_object = True

    def select(self, rows: np.ndarray) -> Self:
        """The column with only the rows at these indices."""
        raise NotImplementedError

    def field(self, rows: slice, image: ImageFacts) -> Any:
        """The field of an image's target, from the rows of its objects or its own row; None: not annotated."""
        raise NotImplementedError

    def entry(self, row: int) -> dict[str, Any]:
        """The keys and values of a row in a COCO file, for the object's or the image's entry."""
        return {}


@dataclass(frozen=True)
class NumberRows(Column):
    """Numbers of each object.

    Args:
        values: ``(m, …)``.
    """

    values: np.ndarray

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, values=self.values[rows])

    def field(self, rows: slice, image: ImageFacts) -> Tensor:
        return torch.from_numpy(self.values[rows].copy())


@dataclass(frozen=True)
class ObjectRows(NumberRows):
    """Numbers of each object as they stand in a COCO file.

    Args:
        key: in the object's entry.
    """

    key: str

    def entry(self, row: int) -> dict[str, Any]:
        value = self.values[row].tolist()
        return {self.key: int(value) if isinstance(value, bool) else value}


@dataclass(frozen=True)
class BoxRows(NumberRows):
    """Boxes ``(m, 4)`` float32, which a COCO file holds as ``x y width height``."""

    def entry(self, row: int) -> dict[str, Any]:
        x1, y1, x2, y2 = self.values[row].astype(np.float64).tolist()
        return {"bbox": [x1, y1, x2 - x1, y2 - y1]}


@dataclass(frozen=True)
class LabelRows(NumberRows):
    """Labels ``(m,)`` int64.

    Args:
        ids: of the categories, in the order of the labels.
    """

    ids: tuple[int, ...]

    def entry(self, row: int) -> dict[str, Any]:
        return {"category_id": self.ids[self.values[row]]}


@dataclass(frozen=True)
class KeypointRows(NumberRows):
    """Keypoints ``(m, J, 3)`` float32, which a COCO file holds in one list."""

    def entry(self, row: int) -> dict[str, Any]:
        return {
            "keypoints": self.values[row].ravel().tolist(),
            "num_keypoints": int((self.values[row, :, 2] > 0).sum()),
        }


@dataclass(frozen=True)
class MaskRows(Column):
    """Masks, kept as polygons, run lengths or paths of files and decoded on access; an object without one gets its
    filled box."""

    segmentations: PackedJson

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, segmentations=self.segmentations.select(rows))

    def field(self, rows: slice, image: ImageFacts) -> Tensor:
        height, width = image.size
        masks = torch.zeros(rows.stop - rows.start, height, width, dtype=torch.bool)
        own = [self.segmentations[row] for row in range(rows.start, rows.stop)]
        if None in own and image.boxes is not None:
            sides = np.concatenate([image.boxes[:, :2], image.boxes[:, 2:] - image.boxes[:, :2]], axis=1)
            filled = box_rings(sides.astype(np.float64))
            own = [box if one is None else one for one, box in zip(own, filled, strict=True)]
        polygons = [number for number, one in enumerate(own) if isinstance(one, list)]
        encoded = [number for number, one in enumerate(own) if isinstance(one, dict)]
        files = [number for number, one in enumerate(own) if isinstance(one, str)]
        try:
            masks[polygons] = rle_to_masks(polygons_to_rle([own[number] for number in polygons], height, width))
            masks[encoded] = rle_to_masks(RunLengths.from_coco([own[number] for number in encoded], image.size))
            for number in files:
                masks[number] = torch.from_numpy(read_mask(own[number], image.size))
        except InputError as error:
            raise InputError(f"{image.source}: a mask of image {image.image_id!r} is wrong: {error}") from error
        return masks

    def entry(self, row: int) -> dict[str, Any]:
        segmentation = self.segmentations[row]
        return {} if segmentation is None else {"segmentation": segmentation}


@dataclass(frozen=True)
class ImageRows(Column):
    """Numbers of each image.

    Args:
        values: ``(n, …)``.
        key: in the image's entry of a COCO file.
        known: ``(n,)`` bool, the images that have them; None: all.
    """

    values: np.ndarray
    key: str
    known: np.ndarray | None = None

    per_object = False

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, values=self.values[rows], known=None if self.known is None else self.known[rows])

    def field(self, rows: slice, image: ImageFacts) -> Tensor | int | float | None:
        if self.known is not None and not self.known[rows.start]:
            return None
        value = self.values[rows.start]
        return value.item() if value.ndim == 0 else torch.from_numpy(value.copy())

    def entry(self, row: int) -> dict[str, Any]:
        return {} if self.known is not None and not self.known[row] else {self.key: self.values[row].tolist()}


@dataclass(frozen=True)
class ImageLabels(ImageRows):
    """The class of each image.

    Args:
        ids: of the categories, in the order of the labels.
    """

    key: str = "category_id"
    ids: tuple[int, ...] = ()

    def entry(self, row: int) -> dict[str, Any]:
        return {self.key: self.ids[self.values[row]]}


@dataclass(frozen=True)
class ImageRegions(Column):
    """Regions of each image, which a COCO file holds as lists of ``x y width height``.

    Args:
        regions: for each image such a list; None where it is not annotated.
        key: in the image's entry.
    """

    regions: PackedJson
    key: str

    per_object = False

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, regions=self.regions.select(rows))

    def field(self, rows: slice, image: ImageFacts) -> Tensor | None:
        listed = self.regions[rows.start]
        if listed is None:
            return None
        boxes = torch.tensor(listed, dtype=torch.float64).reshape(-1, 4)
        boxes[:, 2:] += boxes[:, :2]
        return boxes.float()

    def entry(self, row: int) -> dict[str, Any]:
        listed = self.regions[row]
        return {} if listed is None else {self.key: listed}


@dataclass(frozen=True)
class ImageFiles(Column):
    """A file for each image, read on access.

    Args:
        paths: ``(n,)`` str; empty for images without a file.
        read: reads the field from the file of an image.
        key: in the image's entry of a COCO file.
    """

    paths: np.ndarray
    read: Callable[[Path, ImageFacts], Any]
    key: str

    per_object = False

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, paths=self.paths[rows])

    def field(self, rows: slice, image: ImageFacts) -> Any:
        path = str(self.paths[rows.start])
        return self.read(Path(path), image) if path else None

    def entry(self, row: int) -> dict[str, Any]:
        path = str(self.paths[row])
        return {self.key: path} if path else {}
