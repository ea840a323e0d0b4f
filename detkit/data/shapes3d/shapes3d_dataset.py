"""`Shapes3D`: images of solids, rendered as they are read, with exact meshes and cameras."""

from __future__ import annotations

import copy
import functools
import logging
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch

from detkit.data.image_dataset import ALWAYS_READ, ImageDataset
from detkit.data.shapes3d.appearance import render_arrangement
from detkit.data.shapes3d.arrangement import Arrangement, ArrangementOptions, arrange
from detkit.data.shapes3d.solids import SOLIDS, Solid, solids_of_folder
from detkit.errors import InputError
from detkit.structures import Category, Target

logger = logging.getLogger(__name__)

COUNTS = {"train": 1000, "val": 200, "test": 200}

_READABLE = ALWAYS_READ | {"masks", "meshes", "camera"}
_SMALLEST_SIDE = 32


class Shapes3D(ImageDataset):
    """Rendered images of solids before plain backgrounds, with occlusion. Each image depends only on the options, the
    seed, the split and its index.

    Boxes, areas and masks are those of the visible part; all objects lie in the image. Meshes are in the camera frame.
    A warning names files of `root` that are not closed.

    Args:
        split: a key of `counts`.
        root: a folder of mesh files, each a class, upright along y, instead of detkit's solids; ``data.root`` of a
            config.
        counts: the number of images in each split; None: 1000 in train, and 200 in val and test.
        image_size: smallest and largest side of an image in pixels; height and width are drawn independently.
        seed: the same seed gives the same images.
        names: the classes to draw; None: all.
        max_objects: an image holds 1 to this many objects.
        object_size: smallest and largest diameter of the sphere around an object, as a share of the image's shorter
            side.
        centered: put each object into the middle of the image, so that there is only one.
        upright: turn objects about the vertical only, before a camera that looks down on them; False: in any way.
        min_visible: the least share of an object's pixels that others leave visible.
        contrast: least distance of an object's color from the background's mean in RGB space (0 to 441).
        noise: largest standard deviation of the Gaussian noise in gray levels; each image draws its own.

    Raises:
        InputError: there is no such split, `root` has no meshes that can be read, or an option is out of range.
    """

    def __init__(
        self,
        split: str,
        root: str | Path | None = None,
        counts: dict[str, int] | None = None,
        image_size: tuple[int, int] = (128, 128),
        seed: int = 0,
        names: list[str] | None = None,
        max_objects: int = 3,
        object_size: tuple[float, float] = (0.35, 0.7),
        centered: bool = False,
        upright: bool = True,
        min_visible: float = 0.6,
        contrast: float = 100.0,
        noise: float = 6.0,
    ) -> None:
        counts = COUNTS if counts is None else counts
        if split not in counts:
            raise InputError(f"Shapes3D has no split {split!r}: choose from {', '.join(counts)}")
        _check_options(counts, image_size, contrast, noise)
        self.annotations_path = f"Shapes3D, {split}" if root is None else Path(root)
        self.count = counts[split]
        self.image_size = image_size
        self.contrast, self.noise = contrast, noise
        self.arranging = ArrangementOptions(max_objects, object_size, centered, upright, min_visible)
        self.solids = _chosen(SOLIDS if root is None else solids_of_folder(root), names)
        _warn_of_open(self.solids)
        self.reads = ALWAYS_READ
        self._seeds = (seed, *split.encode())

    @property
    def categories(self) -> list[Category]:
        """The solids, or the mesh files by their names."""
        return [Category(label + 1, solid.name) for label, solid in enumerate(self.solids)]

    @property
    def image_ids(self) -> list[int]:
        """From 1 on."""
        return list(range(1, self.count + 1))

    @functools.cached_property
    def image_sizes(self) -> np.ndarray:  # type: ignore[override]  # computed once
        """``(n, 2)`` height and width in pixels."""
        low, high = self.image_size
        sizes = [self._random(index, "size").integers(low, high + 1, 2) for index in range(self.count)]
        return np.array(sizes, dtype=np.int64)

    def check_fields(self, names: Collection[str]) -> None:
        """Raise an `InputError` where targets have no such field, or the images have none."""
        super().check_fields(names)
        missing = sorted(set(names) - _READABLE)
        if missing:
            raise InputError(
                f"{self.annotations_path}: Shapes3D has no {' and no '.join(missing)}; it has masks, meshes and camera"
            )

    def reading(self, names: Collection[str]) -> Self:
        """The same data set with these fields in its targets: masks, meshes and camera, besides boxes and labels."""
        self.check_fields(names)
        other = copy.copy(self)
        other.reads = self.reads | set(names)
        return other

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """The image as an array ``(H, W, 3)``, and its target."""
        arrangement = self._arranged(index)
        random = self._random(index, "appearance")
        image = render_arrangement(random, arrangement, self.contrast, self.noise)
        return image, self._target(index, arrangement)

    def target(self, index: int) -> Target:
        """The target of an image, without its colors."""
        return self._target(index, self._arranged(index))

    def ground_truth(self) -> Path | dict:
        """The content of a COCO file, with masks."""
        return super(Shapes3D, self.reading({"masks"})).ground_truth()

    def _arranged(self, index: int) -> Arrangement:
        if not -self.count <= index < self.count:
            raise IndexError(f"index {index} is out of range for {self.count} images")
        height, width = self.image_sizes[index].tolist()
        return arrange(self._random(index, "arrangement"), (height, width), self.solids, self.arranging)

    def _target(self, index: int, arrangement: Arrangement) -> Target:
        optional: dict[str, Any] = {
            "masks": arrangement.masks,
            "meshes": arrangement.meshes,
            "camera": arrangement.camera,
        }
        return Target(
            boxes=arrangement.boxes(),
            labels=arrangement.labels,
            area=arrangement.masks.sum(dim=(1, 2), dtype=torch.float32),
            iscrowd=torch.zeros(len(arrangement.labels), dtype=torch.bool),
            image_id=self.image_ids[index],
            **{name: value for name, value in optional.items() if name in self.reads},
        )

    def _random(self, index: int, purpose: str) -> np.random.Generator:
        """The generator of one image, which depends on nothing else."""
        return np.random.default_rng([*self._seeds, index % self.count, *purpose.encode()])


def _chosen(solids: Sequence[Solid], names: Sequence[str] | None) -> list[Solid]:
    known = [solid.name for solid in solids]
    if names is None:
        return list(solids)
    unknown = [name for name in names if name not in known]
    if unknown or not names or len(set(names)) != len(names):
        raise InputError(f"Shapes3D: names must be some of {', '.join(known)}, each once, got {names}")
    return [solids[known.index(name)] for name in names]


def _warn_of_open(solids: Sequence[Solid]) -> None:
    """Log which mesh files have no inside, so that no voxels can be made of them."""
    files = [solid.open_file for solid in solids if solid.open_file is not None]
    if not files:
        return
    closed = [solid.name for solid in solids if solid.open_file is None]
    advice = f"leave them out with names={closed}" if closed else "give other ones"
    names = ", ".join(file.name for file in files)
    _warn_once(
        f"{files[0].parent}: {names}: not closed, or not all faces are turned alike, but a voxel head learns from "
        f"closed meshes alone; {advice}"
    )


@functools.cache
def _warn_once(sentence: str) -> None:
    """Log a warning, but not again for the next split."""
    logger.warning("%s", sentence)


def _check_options(counts: dict[str, int], image_size: tuple[int, int], contrast: float, noise: float) -> None:
    if min(counts.values()) < 1:
        raise InputError(f"Shapes3D: counts must give each split at least one image, got {counts}")
    if not _SMALLEST_SIDE <= image_size[0] <= image_size[1]:
        low = _SMALLEST_SIDE
        raise InputError(f"Shapes3D: image_size must be (low, high) with {low} <= low <= high, got {image_size}")
    for name, value in {"contrast": contrast, "noise": noise}.items():
        if not value >= 0:
            raise InputError(f"Shapes3D: {name} must be at least 0, got {value}")
