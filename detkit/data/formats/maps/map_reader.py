"""Reading a label map from a file: pixel values or colors to labels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import torch
from torch import Tensor

from detkit.coco_files import colors_to_ids
from detkit.data.formats.maps.map_classes import MapClasses
from detkit.data.packed.columns import ImageFacts
from detkit.errors import InputError
from detkit.images import read_map
from detkit.structures.image_fields import IGNORE_INDEX, label_map_dtype

_UNKNOWN = -2


@dataclass(frozen=True)
class MapReader:
    """Reads label maps.

    Args:
        labels: ``(65536,)`` int32 the label of each pixel value; -1: no class, -2: no such value.
        colors: the known colors ``R + 256 G + 65536 B``, sorted.
        color_labels: the label of each; -1: no class.
        uses_palette: whether an indexed image gives its colors.
        dtype: of the label map.
        source: where the classes are listed, for messages.
    """

    labels: np.ndarray
    colors: np.ndarray
    color_labels: np.ndarray
    uses_palette: bool
    dtype: torch.dtype
    source: str

    @classmethod
    def of(cls, classes: MapClasses) -> Self:
        """The reader of maps of these classes.

        Where classes have colors, those of an indexed image count, and gray is a color if all classes are gray.
        """
        labels = np.full(65536, _UNKNOWN, dtype=np.int32)
        labels[[value for value in classes.ignored if 0 <= value < 65536]] = -1
        listed = {**dict.fromkeys(classes.ignored_colors, -1), **classes.colors}
        if classes.colors and all(len(set(color)) == 1 for color in classes.colors):
            values = {color[0]: label for color, label in listed.items()}
        else:
            values = dict(classes.values)
        labels[list(values)] = list(values.values())
        codes = {red + 256 * green + 65536 * blue: label for (red, green, blue), label in listed.items()}
        return cls(
            labels,
            np.array(sorted(codes), dtype=np.int32),
            np.array([codes[code] for code in sorted(codes)], dtype=np.int32),
            classes.uses_palette and bool(codes),
            label_map_dtype(len(classes.categories)),
            classes.source,
        )

    def __call__(self, path: Path, image: ImageFacts) -> Tensor:
        pixels = read_map(path, f"the label map of image {image.image_id!r}", palette=self.uses_palette)
        check_size(pixels, path, image)
        if pixels.ndim == 3 and not len(self.colors):
            pixels = self._gray(pixels, path, image)
        return self._finished(
            self._of_colors(pixels, path, image) if pixels.ndim == 3 else self._of_values(pixels, path, image)
        )

    def _finished(self, labels: np.ndarray) -> Tensor:
        ignore = IGNORE_INDEX[self.dtype]
        return torch.from_numpy(np.where(labels < 0, ignore, labels) if ignore != -1 else labels).to(self.dtype)

    def _gray(self, pixels: np.ndarray, path: Path, image: ImageFacts) -> np.ndarray:
        """The values of a gray image that is stored as RGB."""
        gray: np.ndarray = pixels[..., 0]
        if (gray[..., None] != pixels).any():
            raise InputError(
                f"{path}: the label map of image {image.image_id!r} is in color, but {self.source} gives no colors; "
                "list there the red, green and blue of each class"
            )
        return gray

    def _of_values(self, pixels: np.ndarray, path: Path, image: ImageFacts) -> np.ndarray:
        labels = self.labels[pixels]
        if (labels == _UNKNOWN).any():
            value = int(pixels[labels == _UNKNOWN][0])
            raise InputError(
                f"{path}: the value {value} in the label map of image {image.image_id!r} is that of no class, see "
                f"{self.source}; add a class, or correct the map"
            )
        return labels

    def _of_colors(self, pixels: np.ndarray, path: Path, image: ImageFacts) -> np.ndarray:
        codes = colors_to_ids(pixels)
        places = np.minimum(np.searchsorted(self.colors, codes), len(self.colors) - 1)
        unknown = self.colors[places] != codes
        if unknown.any():
            color = tuple(pixels[unknown][0].tolist())
            raise InputError(
                f"{path}: the color {color} in the label map of image {image.image_id!r} is that of no class, see "
                f"{self.source}; add a class, or correct the map"
            )
        labels: np.ndarray = self.color_labels[places]
        return labels


def check_size(pixels: np.ndarray, path: Path, image: ImageFacts) -> None:
    """Raise an `InputError` where a map has another size than its image."""
    if pixels.shape[:2] != tuple(image.size):
        height, width = pixels.shape[:2]
        raise InputError(
            f"{path}: this map is {width}x{height} pixels (width x height), but image {image.image_id!r} is "
            f"{image.size[1]}x{image.size[0]}; give the map of the same image, not scaled"
        )
