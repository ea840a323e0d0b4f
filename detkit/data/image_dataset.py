"""The base class of data sets: what training and evaluation need of one."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
from torch import Tensor
from torch.utils.data import Dataset

from detkit.data.packed.image_class import ImageClass
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.data.samples.checked_reading import read_sample
from detkit.errors import InputError
from detkit.images import to_tensor
from detkit.ops import masks_to_rle
from detkit.structures import Target
from detkit.structures.categories import Category, keypoint_category, to_coco

ALWAYS_READ = frozenset({"boxes", "labels", "iscrowd", "area", "difficult", "image_id", "image_label"})
"""The fields of targets that are read without being requested, where a data set has them."""


class ImageDataset(Dataset, ABC):
    """Images and their targets.

    A subclass implements `categories`, `image_ids`, `image_sizes` and `read`. A config names it by its import path;
    it is called with the split: ``data.dataset: {class_path: mypackage.MyDataset, init_args: {folder: …}}``.

    Attributes:
        annotations_path: the file or folder of the annotations, for messages.
        target_class: the class of the targets; your own may have more fields.
    """

    annotations_path: Path | str = "the data set"
    target_class: ClassVar[type[Target]] = Target

    @property
    @abstractmethod
    def categories(self) -> list[Category]:
        """The classes, sorted by id; the position is the label."""

    @property
    @abstractmethod
    def image_ids(self) -> Sequence[Any]:
        """The ids, all integers or all strings, in the order of the data set."""

    @property
    @abstractmethod
    def image_sizes(self) -> np.ndarray:
        """``(n, 2)`` height and width in pixels, without decoding; zeros where they are unknown."""

    @abstractmethod
    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """The image ``(H, W, 3)`` uint8 RGB, and its target, whose `image_id` is that of `image_ids`."""

    def target(self, index: int) -> Target:
        """The target of an image; override it where the image need not be decoded."""
        return self.read(index)[1]

    def reading(self, names: Collection[str]) -> Self:
        """The same data set with these fields in its targets, besides those that are always read.

        Raises:
            InputError: the targets or the data have no such field.
        """
        self.check_fields(names)
        return self

    def without_images(self, file_names: Collection[str]) -> Self:
        """The same data set without some images, in training and evaluation.

        Args:
            file_names: of the images, as in the annotations. There may be no such images.

        Raises:
            InputError: the data set does not support it.
        """
        if not file_names:
            return self
        raise InputError(
            f"{type(self).__name__} cannot leave out images by name: leave out data.excluded_images, or the images in "
            "the class"
        )

    def ground_truth(self) -> Path | dict:
        """The ground truth for evaluation: the path of a COCO file or its content, by default made from all targets."""
        return _coco_content(self)

    @property
    def packed_annotations(self) -> PackedAnnotations | None:
        """All annotations in arrays; None where they are only known image by image."""
        return None

    @property
    def has_image_labels(self) -> bool:
        """Whether each image has a class."""
        return False

    def with_image_labels(self, image_class: ImageClass) -> Self:
        """The same data set with a class for each image, see `label_images`.

        Raises:
            InputError: the data set does not support it.
        """
        raise InputError(
            f"{type(self).__name__} cannot derive a class for each image: leave out data.image_class {image_class}, or "
            "give targets with image_label and has_image_labels"
        )

    def __len__(self) -> int:
        return len(self.image_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image, target = read_sample(self, index)
        return to_tensor(image), target

    @property
    def keypoint_names(self) -> list[str]:
        """The names of the J keypoints; empty where there are none."""
        category = keypoint_category(self.categories)
        return list(category.keypoints) if category else []

    @property
    def keypoint_pairs(self) -> list[tuple[int, int]]:
        """The keypoints that a mirror exchanges."""
        category = keypoint_category(self.categories)
        return list(category.swap_pairs or ()) if category else []

    def check_fields(self, names: Collection[str]) -> None:
        """Raise an `InputError` where the targets or the data have no such field."""
        known = self.target_class.kinds()
        for name in sorted(set(names) - known.keys()):
            raise InputError(
                f"there is no field {name!r} of targets, which the model or data.reads names; a "
                f"{self.target_class.__name__} has {', '.join(known)}"
            )


def check_same_categories(first: ImageDataset, second: ImageDataset) -> None:
    """Refuse two splits whose classes differ.

    Raises:
        InputError: they differ; the message names both.
    """
    names, others = ([category.name for category in dataset.categories] for dataset in (first, second))
    if names != others:
        raise InputError(
            f"{second.annotations_path} has the classes {others}, but {first.annotations_path} has {names}; "
            "both must list the same names in the same order of ids"
        )


def _coco_content(dataset: ImageDataset) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for index, image_id in enumerate(dataset.image_ids):
        target = dataset.target(index)
        height, width = map(int, dataset.image_sizes[index])
        entry = {"id": image_id, "file_name": str(image_id), "height": height, "width": width}
        if target.image_label is not None:
            entry["category_id"] = _category_id(target.image_label, dataset.categories, image_id)
        images.append(entry)
        annotations += _objects(target, dataset.categories, image_id, len(annotations))
    categories = [to_coco(category) for category in dataset.categories]
    return {"images": images, "annotations": annotations, "categories": categories}


def _category_id(label: int, categories: Sequence[Category], image_id: Any) -> int:
    if not 0 <= label < len(categories):
        raise InputError(
            f"image {image_id!r} has the label {label}, but there are {len(categories)} categories: labels are "
            f"positions in `categories`, 0 to {len(categories) - 1}"
        )
    return categories[label].id


def _objects(target: Target, categories: Sequence[Category], image_id: Any, before: int) -> list[dict[str, Any]]:
    """The entries of a COCO file for the objects of a target; `before` is the number of entries before them."""
    if target.boxes is None or target.labels is None:
        return []
    corners = target.boxes.double()
    sides = corners[:, 2:] - corners[:, :2]
    areas = sides.prod(dim=1) if target.area is None else target.area
    entries = [
        {
            "id": before + row + 1,
            "image_id": image_id,
            "category_id": _category_id(label, categories, image_id),
            "bbox": [*corners[row, :2].tolist(), *sides[row].tolist()],
            "area": float(areas[row]),
            "iscrowd": int(target.iscrowd is not None and bool(target.iscrowd[row])),
        }
        for row, label in enumerate(target.labels.tolist())
    ]
    runs = None if target.masks is None else masks_to_rle(target.masks).to_coco()
    for row, entry in enumerate(entries):
        if target.difficult is not None:
            entry["difficult"] = int(target.difficult[row])
        if runs is not None:
            entry["segmentation"] = {"size": runs[row]["size"], "counts": runs[row]["counts"].decode("ascii")}
        if target.keypoints is not None:
            entry["keypoints"] = target.keypoints[row].flatten().tolist()
            entry["num_keypoints"] = int((target.keypoints[row, :, 2] > 0).sum())
    return entries
