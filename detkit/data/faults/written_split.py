"""The annotations of a split as they were written, before boxes are clipped and masks are filled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from detkit.coco_files import read_coco_file
from detkit.data.image_dataset import ImageDataset

SHAPE_KEYS = ("model", "voxel", "rot_mat", "trans_mat", "K")
"""Of an object in a COCO file, what tells its shape in space; see `detkit.data.formats.fields.mesh_readers`."""


@dataclass(frozen=True, eq=False)
class WrittenSplit:
    """n images and their m objects, crowds included.

    Args:
        name: of the split.
        source: its annotation file or folder, for messages.
        classes: their names, in the order of the labels.
        image_ids: of the images.
        file_names: of the images, relative to `images_path`.
        sizes: int64 ``(n, 2)`` height and width; 0 where they are not stated.
        boxes: float64 ``(m, 4)`` ``x y width height``.
        labels: int64 ``(m,)``.
        image_rows: int64 ``(m,)`` the position of the image of each object.
        iscrowd: bool ``(m,)``.
        object_names: of each object, for messages.
        segmentations: of each object, as written; None where it has none.
        keypoints: of each object, ``x y visibility`` of all its keypoints in a list; None where it has none.
        keypoint_names: in their order; empty where they are not stated.
        image_labels: int64 ``(n,)`` the class of each image; None where images have none.
        images_path: the folder of the images; None: unknown.
        stuff: the classes that have no objects, such as grass.
        shapes: of each object what tells its shape in space, under the keys of a COCO file; empty where nothing does.
    """

    name: str
    source: str
    classes: Sequence[str]
    image_ids: Sequence[Any]
    file_names: Sequence[str]
    sizes: np.ndarray
    boxes: np.ndarray
    labels: np.ndarray
    image_rows: np.ndarray
    iscrowd: np.ndarray
    object_names: Sequence[str]
    segmentations: Sequence[Any]
    keypoints: Sequence[Any]
    keypoint_names: Sequence[str] = ()
    image_labels: np.ndarray | None = None
    images_path: Path | None = None
    stuff: frozenset[str] = frozenset()
    shapes: Sequence[Mapping[str, Any]] = ()

    @classmethod
    def of(cls, dataset: ImageDataset) -> Self:
        """Those of a data set, of a COCO file before they are clipped to the image."""
        truth = dataset.ground_truth()
        content: dict[str, Any] = read_coco_file(truth) if isinstance(truth, (str, Path)) else truth
        return cls.of_content("", content, str(dataset.annotations_path))

    @classmethod
    def of_content(cls, name: str, content: Mapping[str, Any], source: str, images_path: Path | None = None) -> Self:
        """Those of the content of a COCO file; entries without a box, a known image or a known class are left out."""
        images, categories = content["images"], sorted(content["categories"], key=lambda one: one["id"])
        rows = {one["id"]: row for row, one in enumerate(images)}
        labels = {one["id"]: label for label, one in enumerate(categories)}
        entries = [
            one
            for one in content["annotations"]
            if _is_box(one.get("bbox")) and one.get("image_id") in rows and one.get("category_id") in labels
        ]
        sizes = [(one.get("height") or 0, one.get("width") or 0) for one in images]
        named = next((one["keypoints"] for one in categories if one.get("keypoints")), ())
        of_images = [labels.get(one.get("category_id"), -1) for one in images]
        return cls(
            name=name,
            source=source,
            classes=[str(one["name"]) for one in categories],
            image_ids=[one["id"] for one in images],
            file_names=[str(one.get("file_name", one["id"])) for one in images],
            sizes=np.array(sizes, dtype=np.float64).astype(np.int64).reshape(-1, 2),
            boxes=np.array([one["bbox"] for one in entries], dtype=np.float64).reshape(-1, 4),
            labels=np.array([labels[one["category_id"]] for one in entries], dtype=np.int64),
            image_rows=np.array([rows[one["image_id"]] for one in entries], dtype=np.int64),
            iscrowd=np.array([bool(one.get("iscrowd") or one.get("ignore")) for one in entries], dtype=bool),
            object_names=[_name(one.get("id", number), source) for number, one in enumerate(entries)],
            segmentations=[one.get("segmentation") or None for one in entries],
            keypoints=[one.get("keypoints") or None for one in entries],
            keypoint_names=list(named),
            image_labels=np.array(of_images, dtype=np.int64) if any(label >= 0 for label in of_images) else None,
            images_path=images_path,
            stuff=frozenset(str(one["name"]) for one in categories if one.get("isthing") == 0),
            shapes=[{key: one[key] for key in SHAPE_KEYS if one.get(key) is not None} for one in entries],
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    @property
    def object_sizes(self) -> np.ndarray:
        """int64 ``(m, 2)`` height and width of the image of each object."""
        sizes: np.ndarray = self.sizes[self.image_rows]
        return sizes

    @cached_property
    def states_cameras(self) -> bool:
        """Whether objects state the cameras of their images."""
        return any("K" in one for one in self.shapes)

    def with_sizes(self, sizes: np.ndarray) -> Self:
        """The same where sizes that are not stated are those of files, int64 ``(n, 2)``; 0 where they are unknown."""
        return replace(self, sizes=np.where(self.sizes.all(axis=1, keepdims=True), self.sizes, sizes))

    def select(self, rows: np.ndarray) -> Self:
        """The same with the objects at these positions alone."""
        listed = rows.tolist()
        return replace(
            self,
            boxes=self.boxes[rows],
            labels=self.labels[rows],
            image_rows=self.image_rows[rows],
            iscrowd=self.iscrowd[rows],
            object_names=[self.object_names[row] for row in listed],
            segmentations=[self.segmentations[row] for row in listed],
            keypoints=[self.keypoints[row] for row in listed],
            shapes=[self.shapes[row] for row in listed] if self.shapes else (),
        )

    def objects_of_images(self) -> list[np.ndarray]:
        """The positions of the objects of each image that has some."""
        order = np.argsort(self.image_rows, kind="stable")
        starts = np.flatnonzero(np.diff(self.image_rows[order])) + 1
        return [part for part in np.split(order, starts) if len(part)]

    def place(self, row: int) -> str:
        """Where an object is: its image file and its name."""
        return f"{self.file_names[self.image_rows[row]]}, {self.object_names[row]}"

    def box_text(self, row: int) -> str:
        """The numbers of the box of an object."""
        return f"x y width height {', '.join(f'{value:g}' for value in self.boxes[row].tolist())}"


def _is_box(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 4 and all(isinstance(one, (int, float)) for one in value)


def _name(own: Any, source: str) -> str:
    """The id of an object; readers that keep all faults name it by its file, which messages name already."""
    return str(own).removeprefix(f"{source}: ") if isinstance(own, str) else f"annotation {own}"
