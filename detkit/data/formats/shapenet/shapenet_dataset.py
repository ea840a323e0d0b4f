"""`ShapeNetDataset`: renderings of ShapeNet's models, with their meshes, voxels and cameras."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

import numpy as np

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad
from detkit.data.formats.shapenet.shape_cache import ShapeCache
from detkit.data.formats.shapenet.shapenet_columns import ViewedMeshes, ViewedShapes, ViewedVoxels
from detkit.data.formats.shapenet.shapenet_folders import (
    RENDERINGS,
    Images,
    mesh_file,
    read_splits_file,
    splits_file,
    views_file,
    voxel_file,
)
from detkit.data.formats.shapenet.shapenet_views import shapenet_camera
from detkit.data.packed.columns import Column, ImageLabels, ImageRows
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.images import image_size
from detkit.structures import Category

_NAMES = {
    "02691156": "plane", "02828884": "bench", "02933112": "cabinet", "02958343": "car", "03001627": "chair",
    "03211117": "monitor", "03636649": "lamp", "03691459": "speaker", "04090263": "firearm", "04256520": "couch",
    "04379243": "table", "04401088": "cellphone", "04530566": "watercraft",
}  # fmt: skip
"""Of the synsets that are rendered, as tables of results call them."""


class ShapeNetDataset(DetectionDataset):
    """One split of ShapeNetCore v1 with the renderings of 3D-R2N2, read from the folders as they are published.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)``, on black, and a `Target` without boxes, whose
    ``image_label`` is the synset. ``meshes`` and ``voxels`` are of one object each, in the camera frame. The id of an
    image is ``synset/model/number``. Meshes, voxels and cameras are read when their image is.

    Args:
        split: of the file of splits, such as ``train``.
        root: the folder with ``ShapeNetRendering``, ``ShapeNetCore.v1``, ``ShapeNetCore.v1.binvox`` and a JSON file of
            splits.
        reads: the fields of targets to read besides the class: ``meshes``, ``voxels``, ``camera``.
        on_bad_image: as of `CocoDataset`.
        cache: a folder in which the meshes and voxels that were read are kept as arrays, which takes a hundredth of the
            time to read; None: those that were read last are kept in memory.

    Raises:
        InputError: a folder or file is missing or wrong; later, a file that is read.
    """

    readable = frozenset({"meshes", "voxels", "camera"})
    called = "ShapeNet's renderings"

    def __init__(
        self,
        split: str,
        root: str | Path,
        reads: Collection[str] = (),
        on_bad_image: OnBad = "error",
        cache: str | Path | None = None,
    ) -> None:
        self.split, self.root = split, Path(root)
        self._cache = ShapeCache(None if cache is None else Path(cache))
        super().__init__(self.root / RENDERINGS, splits_file(self.root), reads, on_bad_image)

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        splits = read_splits_file(self.annotations_path)
        if self.split not in splits:
            raise InputError(f"{self.annotations_path}: there is no split {self.split}; it has {', '.join(splits)}")
        synsets = sorted({synset for images in splits.values() for synset in images})
        models, labels, rows, views = _listed(splits[self.split], synsets)
        if not len(rows):
            raise InputError(f"{self.annotations_path}: the split {self.split} names no image; add some")
        self._models = models
        listed = list(zip(models[rows].tolist(), views.tolist(), strict=True))
        file_names = np.array([f"{model}/rendering/{view:02d}.png" for model, view in listed])
        size = image_size(self.images_path / file_names[0])  # of all; each image is checked when it is read
        categories = [Category(number, _NAMES.get(name, name)) for number, name in enumerate(synsets, start=1)]
        cameras = np.broadcast_to(shapenet_camera(size), (len(rows), 3, 3))
        columns: dict[str, Column] = {
            "image_label": ImageLabels(labels[rows], ids=tuple(category.id for category in categories)),
            "camera": ImageRows(cameras, "camera"),
            "meshes": ViewedMeshes(self.root, models, rows, views, self._cache),
            "voxels": ViewedVoxels(self.root, models, rows, views, self._cache),
        }
        return PackedAnnotations(
            categories=categories,
            image_ids=np.array([f"{model}/{view:02d}" for model, view in listed]),
            file_names=file_names,
            image_sizes=np.full((len(rows), 2), size, dtype=np.int64),
            offsets=np.zeros(len(rows) + 1, dtype=np.int64),
            columns={name: column for name, column in columns.items() if name in self.reads | {"image_label"}},
            dropped=[],
        )

    def check_files(self) -> None:
        """Raise an `InputError` where files of images, or of the shapes that are read, are missing."""
        super().check_files()
        shapes = [column for column in self._packed.columns.values() if isinstance(column, ViewedShapes)]
        if not shapes:
            return
        kinds = [views_file, mesh_file] + [voxel_file] * any(isinstance(one, ViewedVoxels) for one in shapes)
        paths = [kind(self.root, model) for model in self._models.tolist() for kind in kinds]
        missing = [path for path in paths if not os.path.isfile(path)]
        if missing:
            raise InputError(
                f"{self.annotations_path}: {len(missing)} files of the {len(self._models)} models are missing (first: "
                f"{missing[0]}); copy them there, or leave the models out of the splits"
            )


def _listed(images: Images, synsets: list[str]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The models ``synset/id``, the label of each, and of each image its model and its number."""
    models, labels, counts = [], [], []
    views: list[int] = []
    for synset in sorted(images):
        for model in sorted(images[synset]):
            numbers = sorted(images[synset][model])
            models.append(f"{synset}/{model}")
            labels.append(synsets.index(synset))
            counts.append(len(numbers))
            views += numbers
    rows = np.repeat(np.arange(len(models)), counts)
    return np.array(models), np.array(labels, dtype=np.int64), rows, np.array(views, dtype=np.int64)
