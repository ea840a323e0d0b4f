"""The base class of data sets that read annotation files: images of a folder with packed annotations."""

from __future__ import annotations

import copy
import logging
import os
from abc import abstractmethod
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np

from detkit.data.formats.coco_annotations import OnBad
from detkit.data.image_dataset import ALWAYS_READ, ImageDataset
from detkit.data.packed.held_out import HeldOut
from detkit.data.packed.image_class import ImageClass, label_images
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.deprecation import rename_hooks
from detkit.errors import InputError
from detkit.files import named_file, named_path
from detkit.images import image_size, read_image
from detkit.structures import Target
from detkit.structures.categories import Category

logger = logging.getLogger(__name__)


class DetectionDataset(ImageDataset):
    """Images of a folder and their targets; the base of detkit's readers, such as `CocoDataset`.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. Annotations are held
    packed in arrays, so that worker processes share them.

    Args:
        images: folder that the file names are relative to.
        source: the file or folder of the annotations, for messages.
        reads: the fields of targets to read besides those that are always read.
        on_bad_image: "error" raises when an unreadable image is read; "skip" decodes every file once at the start and
            leaves out those that are unreadable or do not have the annotated size.

    Attributes:
        readable: the fields that can be read on demand.
        called: what messages call the format.
        advice: what messages advise where a field cannot be read from this format.
        of_maps: whether maps are its annotations, which a conversion to maps then writes; else it paints masks.
        held_out: the part of its images that the data set has; None: all.
        excluded: file names of images that are left out; see `without_images`.
    """

    readable: ClassVar[frozenset[str]] = frozenset()
    called: ClassVar[str] = "a folder"
    advice: ClassVar[str] = "give COCO's JSON"
    of_maps: ClassVar[bool] = False

    def __init_subclass__(cls, **arguments: Any) -> None:
        super().__init_subclass__(**arguments)
        rename_hooks(cls, {"_read": "read_annotations", "_check_files_exist": "check_files"})

    def __init__(self, images: Path, source: Path, reads: Collection[str], on_bad_image: OnBad) -> None:
        self.images_path = images
        self.annotations_path: Path = source
        self._on_bad_image: OnBad = on_bad_image
        self.held_out: HeldOut | None = None
        self.excluded: frozenset[str] = frozenset()
        self._load(frozenset(reads))

    def _load(self, reads: frozenset[str]) -> None:
        self.check_fields(reads)
        self.reads = reads - ALWAYS_READ
        self._packed = self.read_annotations(self._on_bad_image)
        self._num_annotated_images = len(self._packed.image_ids)
        if self._on_bad_image == "skip":
            self._packed = self._without_unreadable()
        else:
            self.check_files()
        self._exclude()
        self._hold_out()

    def _exclude(self) -> None:
        is_excluded = np.isin(self._packed.file_names, sorted(self.excluded))
        if is_excluded.any():
            self._packed = self._packed.select_images(np.flatnonzero(~is_excluded))
            logger.info("%s: %d images were left out, as asked for", self.annotations_path, is_excluded.sum())

    def _hold_out(self) -> None:
        if self.held_out is not None:
            names = self._packed.file_names.tolist()
            self._packed = self._packed.select_images(self.held_out.indices(names, str(self.annotations_path)))

    @abstractmethod
    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        """Read the annotations.

        Args:
            on_bad_image: as of the class; with "skip", an unreadable image must not raise here and is left out later.

        Raises:
            InputError: annotations are missing or wrong.
        """

    def check_fields(self, names: Collection[str]) -> None:
        """Raise an `InputError` where targets have no such field, or it cannot be read from this format."""
        super().check_fields(names)
        missing = sorted(set(names) - ALWAYS_READ - self.readable)
        if missing:
            advice = "give data.proposals, which computes them" if missing == ["proposals"] else self.advice
            raise InputError(
                f"{self.annotations_path}: this is {self.called}, from which no {' and no '.join(missing)} are read; "
                f"{advice}"
            )

    def reading(self, names: Collection[str]) -> Self:
        """The same data set with these fields in its targets, besides those that it reads already.

        Raises:
            InputError: the targets have no such field, or it cannot be read from this format.
        """
        if set(names) <= self.reads | ALWAYS_READ:
            return self
        other = copy.copy(self)
        other._load(self.reads | set(names))
        return other

    def part(self, held_out: HeldOut) -> Self:
        """A part of the images of this data set.

        Raises:
            InputError: there are too few images to divide.
        """
        other = copy.copy(self)
        other.held_out = held_out
        other._hold_out()
        return other

    def without_images(self, file_names: Collection[str]) -> Self:
        """The same data set without the images of these names; see `ImageDataset.without_images`."""
        if not file_names:
            return self
        other = copy.copy(self)
        other.excluded = self.excluded | set(file_names)
        other._exclude()
        return other

    def ground_truth(self) -> Path | dict:
        """The ground truth for evaluation: the path of a COCO annotation file or its content."""
        return self._packed.to_coco()

    @property
    def packed_annotations(self) -> PackedAnnotations:
        """All annotations in arrays."""
        return self._packed

    @property
    def has_image_labels(self) -> bool:
        """Whether each image has a class."""
        return "image_label" in self._packed.columns

    def with_image_labels(self, image_class: ImageClass) -> Self:
        """The same data set with a class for each image, without the images that have none.

        A data set whose images already have classes is returned unchanged.

        Args:
            image_class: see `label_images`.

        Raises:
            InputError: no image has a class.
        """
        if self.has_image_labels:
            return self
        labeled = copy.copy(self)
        labeled._packed = label_images(self._packed, image_class, self.annotations_path)
        return labeled

    def _size_in_file(self, on_bad_image: OnBad) -> Callable[[str], tuple[int, int]]:
        """Reads the size of an image from its header; with "skip" that of an unreadable image is ``(0, 0)``."""

        def size(file_name: str) -> tuple[int, int]:
            try:
                return image_size(named_file(self.images_path, file_name))
            except InputError:
                if on_bad_image == "skip":
                    return 0, 0  # unknown: the image is left out later
                raise

        return size

    def __len__(self) -> int:
        return len(self._packed.image_ids)

    @property
    def categories(self) -> list[Category]:
        """Sorted by id; the position is the label."""
        return self._packed.categories

    @property
    def image_ids(self) -> list[int] | list[str]:
        """The ids in the order of the data set."""
        return self._packed.image_ids.tolist()

    @property
    def image_sizes(self) -> np.ndarray:
        """``(n, 2)`` height and width in pixels, without decoding."""
        return self._packed.image_sizes

    @property
    def reads_targets_apart(self) -> bool:
        """Whether `read` gives what `read_image` and `target` give, each on its own."""
        return type(self).read is DetectionDataset.read

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        """The image as an array ``(H, W, 3)``, and its target."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} images")
        index %= len(self)
        return self.read_image(index), self.target(index)

    def read_image(self, index: int) -> np.ndarray:
        """The image as uint8 RGB ``(H, W, 3)``.

        Raises:
            InputError: the file is missing, broken or has another size than annotated; names the file and the image id.
        """
        path = named_path(self.images_path, str(self._packed.file_names[index]))
        height, width = self._packed.image_sizes[index].tolist()
        try:
            return read_image(path, (height, width))
        except InputError as error:
            image_id = self._packed.image_ids[index].item()
            raise InputError(f"{error} (image id {image_id!r} of {self.annotations_path})") from error

    def target(self, index: int) -> Target:
        """The annotations of an image, without reading it."""
        packed = self._packed
        fields = packed.fields(index, self.reads | ALWAYS_READ, str(self.annotations_path))
        return self.target_class(**fields, image_id=packed.image_ids[index].item())

    def check_files(self) -> None:
        """Raise an `InputError` where image files are missing."""
        present: dict[str, set[str]] = {}
        missing = []
        for name in self._packed.file_names.tolist():
            folder, base = os.path.split(named_path(self.images_path, name))
            if folder not in present:
                present[folder] = _files_in(folder)
            if base not in present[folder]:
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
            raise InputError(f"{self.annotations_path}: none of the {len(bad)} images can be read; first: {bad[0]}")
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


def _files_in(folder: str) -> set[str]:
    if not os.path.isdir(folder):
        return set()
    with os.scandir(folder) as entries:
        return {entry.name for entry in entries if not entry.is_dir()}
