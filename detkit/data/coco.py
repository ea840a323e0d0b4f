"""A folder of images with a COCO annotation file, as a torch data set."""

from __future__ import annotations

import json
import logging
import os
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from pycocotools import mask as rle
from torch import Tensor
from torch.utils.data import Dataset

from detkit.data.annotations import OnBad, PackedAnnotations, read_annotations, read_json
from detkit.errors import InputError
from detkit.images import image_size, read_image, to_tensor
from detkit.structures import Category, Target

logger = logging.getLogger(__name__)


class CocoDataset(Dataset):
    """Images and targets of one COCO annotation file.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. Annotations are held
    packed in arrays, so that worker processes share them. An annotation with ``iscrowd`` or ``ignore`` set becomes
    ``Target.iscrowd``, as in COCO's own evaluation. A missing ``area`` is the box's, a missing ``segmentation`` is
    the box filled, a missing ``width`` or ``height`` is read from the image file.

    Args:
        images: folder that the file names in the JSON are relative to.
        annotations: the JSON file.
        with_masks: give ``Target.masks``.
        with_keypoints: give ``Target.keypoints``, ``x y`` as written in the file.
        on_bad_image: "error" raises when an unreadable image is met; "skip" decodes every file once at the start and
            leaves the unreadable ones, and those of another size than the JSON says, out of the data set.
        on_bad_box: "error" raises where a box has no area or lies outside its image; "skip" leaves such boxes out.

    Raises:
        InputError: the annotation file is wrong, an image file is missing, or, when indexed, cannot be decoded.
    """

    def __init__(
        self,
        images: str | Path,
        annotations: str | Path,
        with_masks: bool = False,
        with_keypoints: bool = False,
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
    ) -> None:
        self.images_path = Path(images)
        self.annotations_path = Path(annotations)
        self._packed = read_annotations(
            self.annotations_path, self._size_in_file(on_bad_image), with_masks, with_keypoints, on_bad_box
        )
        self._num_annotated_images = len(self._packed.image_ids)
        if on_bad_image == "skip":
            self._packed = self._without_unreadable()
        else:
            self._check_files_exist()

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
            image_id=packed.image_ids[index].item(),
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

    def ground_truth(self) -> Path | dict:
        """What an evaluation compares with: the annotation file, or, where something was left out, its content
        without the images and annotations that were."""
        if len(self) == self._num_annotated_images and not self._packed.dropped:
            return self.annotations_path
        content = read_json(self.annotations_path)
        images, dropped = set(self.image_ids), set(self._packed.dropped)
        content["images"] = [image for image in content["images"] if image["id"] in images]
        content["annotations"] = [
            annotation
            for row, annotation in enumerate(content["annotations"])
            if annotation["image_id"] in images and annotation.get("id", row) not in dropped
        ]
        return content


def find_split(root: str | Path, split: str) -> tuple[Path, Path]:
    """The images folder and the annotation file of one split of a COCO folder.

    Annotation files: ``{split}.json``, ``instances_{split}.json``, ``instances_{split}20XX.json``, ``*_{split}.json``
    or ``*_{split}20XX.json``, in ``annotations/`` or the folder itself, or ``{split}/_annotations.coco.json``. Images:
    in ``images/{split}``, ``images/{split}20XX``, ``{split}``, ``{split}20XX`` or ``images``, the first of these that
    holds the first file of the annotations. The split ``val`` may be called ``valid``.

    Returns:
        The images folder and the annotation file.

    Raises:
        InputError: nothing or more than one file fits; the message lists what was looked for and what is there.
    """
    root = Path(root)
    if not root.is_dir():
        raise InputError(f"{root}: there is no such folder; a data set folder holds images/ and annotations/")
    annotations = _find_annotations(root, split)
    return _find_images(root, split, annotations), annotations


def _names(split: str) -> tuple[str, ...]:
    return ("val", "valid") if split == "val" else (split,)


def _find_annotations(root: Path, split: str) -> Path:
    forms = ("{}.json", "instances_{}.json", "instances_{}20??.json", "*_{}.json", "*_{}20??.json")
    patterns = [form.format(name) for form in forms for name in _names(split)]
    places = [f"{folder}{pattern}" for pattern in patterns for folder in ("annotations/", "")]
    for place in (*places, *(f"{name}/_annotations.coco.json" for name in _names(split))):
        matches = sorted(root.glob(place))
        if len(matches) > 1:
            raise InputError(
                f"{root}: {', '.join(match.name for match in matches)} all fit the split '{split}'; "
                f"choose one with --data.{split}_annotations"
            )
        if matches:
            return matches[0]
    present = sorted(str(file.relative_to(root)) for file in (*root.glob("*.json"), *root.glob("*/*.json")))
    raise InputError(
        f"{root}: no annotation file for the split '{split}': looked for {', '.join(patterns)} in annotations/ and the "
        f"folder itself, found {', '.join(present) or 'no JSON file'}"
    )


def _find_images(root: Path, split: str, annotations: Path) -> Path:
    first = _first_file_name(annotations)
    forms = ("images/{}", "images/{}20??", "{}", "{}20??")
    patterns = [form.format(name) for form in forms for name in _names(split)] + ["images"]
    folders = [folder for pattern in patterns for folder in sorted(root.glob(pattern)) if folder.is_dir()]
    for folder in folders:
        if (folder / first).is_file():
            return folder
    if folders:
        return folders[0]  # where the data set then misses its files, by name
    present = sorted(folder.name for folder in root.iterdir() if folder.is_dir())
    raise InputError(
        f"{root}: no images folder for the split '{split}': looked for {', '.join(patterns)}, "
        f"found the folders {', '.join(present) or '(none)'}"
    )


def _first_file_name(annotations: Path) -> str:
    """Found without parsing a file that may have hundreds of megabytes."""
    found = re.search(rb'"file_name"\s*:\s*("(?:[^"\\]|\\.)*")', annotations.read_bytes())
    return json.loads(found.group(1)) if found else ""
