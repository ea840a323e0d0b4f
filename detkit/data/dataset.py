"""Images with packed annotations as a torch data set, whatever format the annotations came in."""

from __future__ import annotations

import copy
import logging
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Self

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor
from torch.utils.data import Dataset

from detkit.data.annotations import OnBad
from detkit.data.image_class import ImageClass, label_images
from detkit.data.packed import PackedAnnotations
from detkit.errors import InputError
from detkit.images import image_size, read_image, to_tensor
from detkit.structures import Category, Target

logger = logging.getLogger(__name__)


class DetectionDataset(Dataset):
    """Images of a folder and their targets: what `CocoDataset`, `VocDataset` and `YoloDataset` share.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. Annotations are held
    packed in arrays, so that worker processes share them.

    Args:
        images: folder that the file names are relative to.
        source: the file or folder that holds the annotations; messages name it.
        on_bad_image: "error" raises when an unreadable image is met; "skip" decodes every file once at the start and
            leaves the unreadable ones, and those of another size than the annotations say, out of the data set.
    """

    def __init__(self, images: Path, source: Path, on_bad_image: OnBad) -> None:
        self.images_path = images
        self.annotations_path = source
        self._packed = self._read(on_bad_image)
        self._num_annotated_images = len(self._packed.image_ids)
        if on_bad_image == "skip":
            self._packed = self._without_unreadable()
        else:
            self._check_files_exist()

    def _read(self, on_bad_image: OnBad) -> PackedAnnotations:
        """The annotations, as the format has them."""
        raise NotImplementedError

    def ground_truth(self) -> Path | dict:
        """What an evaluation compares with: a COCO annotation file, or what it would hold."""
        return self._packed.to_coco()

    @property
    def has_image_labels(self) -> bool:
        """Whether each image has a class as a whole."""
        return self._packed.image_labels is not None

    def with_image_labels(self, image_class: ImageClass) -> Self:
        """The same data set with a class for each image as a whole, without the images that have none.

        A data set whose images have a class already stays as it is.

        Args:
            image_class: see `label_images`.

        Raises:
            InputError: no image has a class.
        """
        if self.has_image_labels:
            return self
        labelled = copy.copy(self)
        labelled._packed = label_images(self._packed, image_class, self.annotations_path)
        return labelled

    def _size_in_file(self, on_bad_image: OnBad):
        def size(file_name: str) -> tuple[int, int]:
            try:
                return image_size(self.images_path / file_name)
            except InputError:
                if on_bad_image == "skip":
                    return 1, 1  # whatever the size: the file is left out a moment later
                raise

        return size

    def __len__(self) -> int:
        return len(self._packed.image_ids)

    def __getitem__(self, index: int) -> tuple[Tensor, Target]:
        image, target = self.read(index)
        return to_tensor(image), target

    @property
    def categories(self) -> list[Category]:
        """Sorted by id; the position is the label."""
        return self._packed.categories

    @property
    def keypoint_names(self) -> list[str]:
        """The names of the J keypoints; empty where the file has none."""
        return self._packed.keypoint_names

    @property
    def keypoint_pairs(self) -> list[tuple[int, int]]:
        """The keypoints that a mirror exchanges: those whose names differ in "left" and "right" alone."""
        names = self.keypoint_names
        mirrored = [name.replace("left", "right") for name in names]
        return [
            (left, names.index(other))
            for left, (name, other) in enumerate(zip(names, mirrored, strict=True))
            if other != name and other in names
        ]

    @property
    def image_ids(self) -> list[int] | list[str]:
        """The ids in the order of the data set."""
        return self._packed.image_ids.tolist()

    @property
    def image_sizes(self) -> np.ndarray:
        """``(n, 2)`` height and width in pixels, without decoding."""
        return self._packed.image_sizes

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """The image as an array ``(H, W, 3)``, and its target."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} images")
        index %= len(self)
        return self.read_image(index), self.target(index)

    def read_image(self, index: int) -> np.ndarray:
        """The image as uint8 RGB ``(H, W, 3)``.

        Raises:
            InputError: missing, broken or of another size than the JSON says; names the file and the image id.
        """
        path = self.images_path / str(self._packed.file_names[index])
        height, width = self._packed.image_sizes[index].tolist()
        try:
            return read_image(path, (height, width))
        except InputError as error:
            image_id = self._packed.image_ids[index].item()
            raise InputError(f"{error} (image id {image_id!r} of {self.annotations_path})") from error

    def target(self, index: int) -> Target:
        """The annotations of an image, without reading it."""
        packed = self._packed
        span = slice(int(packed.offsets[index]), int(packed.offsets[index + 1]))
        return Target(
            boxes=torch.from_numpy(packed.boxes[span].copy()),
            labels=torch.from_numpy(packed.labels[span].copy()),
            masks=None if packed.segmentations is None else torch.from_numpy(self._masks(index, span)),
            keypoints=None if packed.keypoints is None else torch.from_numpy(packed.keypoints[span].copy()),
            iscrowd=torch.from_numpy(packed.iscrowd[span].copy()),
            area=torch.from_numpy(packed.areas[span].copy()),
            difficult=None if packed.difficult is None else torch.from_numpy(packed.difficult[span].copy()),
            image_id=packed.image_ids[index].item(),
            image_label=None if packed.image_labels is None else packed.image_labels[index].item(),
        )

    def _masks(self, index: int, span: slice) -> np.ndarray:
        height, width = self._packed.image_sizes[index].tolist()
        masks = np.zeros((span.stop - span.start, height, width), dtype=bool)
        for row in range(span.start, span.stop):
            segmentation = self._packed.segmentations[row]
            if segmentation is None:
                x1, y1, x2, y2 = self._packed.boxes[row].round().astype(int)
                masks[row - span.start, y1 : max(y2, y1 + 1), x1 : max(x2, x1 + 1)] = True
            else:
                masks[row - span.start] = self._decode(segmentation, index, height, width)
        return masks

    def _decode(self, segmentation: list | dict, index: int, height: int, width: int) -> np.ndarray:
        """Polygons, run lengths or compressed run lengths to a mask ``(H, W)`` bool."""
        where = f"{self.annotations_path}: a mask of image {self._packed.image_ids[index].item()!r}"
        if isinstance(segmentation, list):
            return rle.decode(rle.merge(rle.frPyObjects(segmentation, height, width))).astype(bool)
        if list(segmentation["size"]) != [height, width]:
            raise InputError(
                f"{where} has size {segmentation['size']}, the image {[height, width]} (height, width); "
                "export the masks again"
            )
        try:
            if isinstance(segmentation["counts"], list):
                segmentation = rle.frPyObjects(segmentation, height, width)
            mask = rle.decode(segmentation)
        except (ValueError, OverflowError, TypeError) as error:
            raise InputError(f"{where} has run lengths that do not fit it ({error}); export the masks again") from error
        if mask.max(initial=0) > 1:  # too few run lengths: the rest was never written
            raise InputError(f"{where} has too few run lengths; export the masks again")
        return mask.astype(bool)

    def _check_files_exist(self) -> None:
        present: dict[Path, set[str]] = {}
        missing = []
        for name in self._packed.file_names.tolist():
            path = self.images_path / name
            if path.parent not in present:
                present[path.parent] = set(os.listdir(path.parent)) if path.parent.is_dir() else set()
            if path.name not in present[path.parent]:
                missing.append(name)
        if missing:
            raise InputError(
                f"{self.annotations_path}: {len(missing)} of {len(self)} image files are not in {self.images_path} "
                f"(first: {missing[0]}); correct the folder, or leave them out with --data.on_bad_image skip"
            )

    def _without_unreadable(self) -> PackedAnnotations:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            problems = list(pool.map(self._problem, range(len(self))))
        bad = [problem for problem in problems if problem]
        if not bad:
            return self._packed
        if len(bad) == len(self):
            raise InputError(f"{self.annotations_path}: not one of the {len(bad)} images can be read; first: {bad[0]}")
        for problem in bad:
            logger.warning("left out: %s", problem)
        logger.warning("%s: %d of %d images were left out", self.annotations_path, len(bad), len(self))
        return self._packed.select_images(np.flatnonzero([not problem for problem in problems]))

    def _problem(self, index: int) -> str | None:
        try:
            self.read_image(index)
        except InputError as error:
            return str(error)
        return None
