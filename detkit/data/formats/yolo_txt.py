"""Data sets in YOLO's layout: a ``data.yaml``, images, and a text file of labels for each image.

A label is a line ``class x y width height``: the center and the size of the box as fractions of the image's. A line
with more numbers is ``class x1 y1 x2 y2 x3 y3 …``, the outline of the object, in fractions too. The layout began with
darknet (https://pjreddie.com/darknet/yolo); the ``data.yaml`` came with later programs.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import Any

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad, pack_annotations
from detkit.data.formats.field_readers import MaskReader
from detkit.data.formats.file_problems import raise_problems
from detkit.data.formats.yolo_yaml import Description, find_description, read_description
from detkit.data.old_flags import takes_old_flags
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.files.text_documents import numbers_in, read_lines, whole_number_in
from detkit.images import image_size

logger = logging.getLogger(__name__)

SizeOf = Callable[[str], tuple[int, int]]

_OUTSIDE = 0.01  # tolerance of fractions outside 0..1


class YoloDataset(DetectionDataset):
    """Images and targets of one split of a ``data.yaml``.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. The id of an image is
    its path, relative to the ``path`` of the ``data.yaml``. An image without a label file has no objects.

    Args:
        data: the ``data.yaml``, or the folder that it lies in. A folder without one needs a ``classes.txt``.
        split: ``train``, ``val`` or ``test``.
        reads: the fields of targets to read besides boxes, labels and areas: ``masks``, of outlines, or the filled
            box for objects without one.
        on_bad_image: as of `CocoDataset`.
        on_bad_box: as of `CocoDataset`.

    Raises:
        InputError: the ``data.yaml`` is wrong, images are missing, or a label is wrong; the message names the first
            file and line that is, and how many others are.
    """

    readable = frozenset({"masks"})
    called = "a YOLO folder"

    @takes_old_flags(3, ("with_masks",))
    def __init__(
        self,
        data: str | Path,
        split: str = "train",
        reads: Collection[str] = (),
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
    ) -> None:
        self.description = read_description(find_description(Path(data)))
        self.split = split
        self._on_bad_box: OnBad = on_bad_box
        super().__init__(self.description.root, self.description.path, reads, on_bad_image)

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        problems: list[str] = []
        bad_boxes: list[str] = []
        size_of = self._size_in_file(on_bad_image)
        content = read_yolo(self.description, self.split, problems, size_of, bad_boxes)
        raise_problems(problems, self.images_path, bad_boxes, self._on_bad_box)
        # Outlines belong to the ground truth whether or not targets have masks.
        masks = {"masks"} if any("segmentation" in one for one in content["annotations"]) else set()
        readers = {"masks": MaskReader(warns="masks" in self.reads)}
        return pack_annotations(
            content, self.annotations_path, size_of, self.reads | masks, self._on_bad_box, readers=readers
        )


def label_file(image: Path) -> Path:
    """The label file of an image: its last folder ``images`` (darknet: ``JPEGImages``) replaced by ``labels``, or
    next to the image where it lies in no such folder."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] in ("images", "JPEGImages"):
            parts[position] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_yolo(
    description: Description,
    split: str,
    problems: list[str],
    size_of: SizeOf | None = None,
    bad_boxes: list[str] | None = None,
) -> dict[str, Any]:
    """Read the images and objects of a split as the content of a COCO file.

    The ``id`` of an object is its file and line, and the image where several share the file; an outline is its
    ``segmentation``.

    Args:
        description: the ``data.yaml``.
        split: ``train``, ``val`` or ``test``.
        problems: a message for each fault, with its file and line, is added; such objects are left out.
        size_of: gives ``(height, width)`` of a file name; default: reads the image's header.
        bad_boxes: the list for those whose box or outline is wrong; None: `problems`.
    """
    bad_boxes = problems if bad_boxes is None else bad_boxes
    root = description.root
    if description.missing_path is not None:
        elsewhere = (description.path, description.missing_path)
        logger.warning("%s: its 'path' %s is not there; images are read next to the file", *elsewhere)
    size_of = size_of or (lambda name: image_size(root / name))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    image_of: dict[Path, str] = {}  # the first image of each label file
    sharing: list[tuple[Path, str]] = []
    files = description.images(split)
    for file in files:
        name = _name(file, root)
        try:
            height, width = size_of(name)
        except InputError as error:
            where = description.missing.get(file)
            problems.append(f"{where}: there is no image {file}; correct the list" if where else str(error))
            continue
        images.append({"id": name, "file_name": name, "height": height, "width": width})
        labels = label_file(file)
        if not os.path.isfile(labels):
            continue
        if shared := image_of.setdefault(labels, name) != name:
            sharing.append((labels, name))
        source = str(labels).removeprefix(f"{root}{os.sep}")
        for number, label, values in _read_labels(labels, description, problems, bad_boxes):
            identity = {"id": f"{source}:{number}{f' of {name}' if shared else ''}", "image_id": name}
            shape = _box(values, (height, width)) if len(values) == 4 else _outline(values, (height, width))
            annotations.append({**identity, "category_id": label + 1, **shape})
    if files and not image_of and not problems:
        raise InputError(
            f"{description.path}: none of the {len(files)} images of '{split}' has labels: looked for "
            f"{label_file(files[0])} and others like it"
        )
    if sharing:
        labels, name = sharing[0]
        logger.warning(
            "%s: %d images share the label file of another (first: %s and %s, both of %s); each gets its objects",
            description.path, len(sharing), image_of[labels], name, labels,
        )  # fmt: skip
    categories = [{"id": number, "name": name} for number, name in enumerate(description.names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _name(file: Path, root: Path) -> str:
    try:
        return file.relative_to(root).as_posix()
    except ValueError:
        return file.as_posix()


def _read_labels(
    labels: Path, description: Description, problems: list[str], bad_boxes: list[str]
) -> list[tuple[int, int, list[float]]]:
    """Line number, class, and the 4 numbers of the box or at least 6 of the outline of each object of a label file."""
    try:
        lines = read_lines(labels)
    except InputError as error:
        problems.append(str(error))
        return []
    objects = []
    num_classes, num_extra = len(description.names), description.num_keypoint_values
    for number, line in lines:
        numbers = numbers_in(line)
        label = whole_number_in(line.split()[0]) if numbers is None else numbers[0]
        values = [] if numbers is None else numbers[1:]
        if num_extra and len(values) == 4 + num_extra:
            values = values[:4]
        if label is None:
            problems.append(f"{labels}:{number}: {line[:60]!r} are not all numbers")
        elif not (0 <= label < num_classes and label == int(label)):
            known = f"0..{num_classes - 1} of {description.path.name}"
            problems.append(f"{labels}:{number}: the class {line.split()[0][:60]} is not among {known}")
        elif fault := _fault(numbers and values, line):
            bad_boxes.append(f"{labels}:{number}: {fault}")
        else:
            objects.append((number, int(label), values))
    return objects


def _fault(values: list[float] | None, line: str) -> str | None:
    """What is wrong with the numbers of a box or an outline; None: nothing."""
    if values is None:
        return f"{line[:60]!r} are not all numbers"
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return f"a label is a class and 4 numbers, or at least 3 points; this line has {len(line.split())} numbers"
    if not all(-_OUTSIDE <= value <= 1 + _OUTSIDE for value in values):
        return f"{' '.join(line.split()[1:5])[:60]} are not all fractions of the image's size, which lie in 0..1"
    return None


def _box(values: Sequence[float], size: tuple[int, int]) -> dict[str, Any]:
    (height, width), (x, y, w, h) = size, values
    box = [(x - w / 2) * width, (y - h / 2) * height, w * width, h * height]
    return {"bbox": [round(value, 6) for value in box]}


def _outline(values: Sequence[float], size: tuple[int, int]) -> dict[str, Any]:
    height, width = size
    xs, ys = [round(x * width, 6) for x in values[0::2]], [round(y * height, 6) for y in values[1::2]]
    box = [min(xs), min(ys), round(max(xs) - min(xs), 6), round(max(ys) - min(ys), 6)]
    doubled = sum(xs[i - 1] * ys[i] - xs[i] * ys[i - 1] for i in range(len(xs)))  # shoelace formula
    return {
        "bbox": box,
        "area": abs(doubled) / 2,
        "segmentation": [[value for point in zip(xs, ys, strict=True) for value in point]],
    }
