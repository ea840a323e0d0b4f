"""Data sets in YOLO's layout: a ``data.yaml``, images, and a text file of labels for each image.

A label is a line ``class x y width height``: the center and the size of the box as fractions of the image's. A line
with more numbers is ``class x1 y1 x2 y2 x3 y3 …``, the outline of the object, in fractions too. The layout began with
darknet (https://pjreddie.com/darknet/yolo); the ``data.yaml`` came with later programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
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
from detkit.images import image_size

SizeOf = Callable[[str], tuple[int, int]]

_OUTSIDE = 0.01  # tolerance of fractions outside 0..1


class YoloDataset(DetectionDataset):
    """Images and targets of one split of a ``data.yaml``.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. The id of an image is
    its path, relative to the ``path`` of the ``data.yaml``. An image without a label file has no objects.

    Args:
        data: the ``data.yaml``, or the folder that it lies in.
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
        content = read_yolo(self.description, self.split, problems, self._size_in_file(on_bad_image))
        raise_problems(problems, self.images_path)
        size_of = self._size_in_file(on_bad_image)
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
    description: Description, split: str, problems: list[str], size_of: SizeOf | None = None
) -> dict[str, Any]:
    """Read the images and objects of a split as the content of a COCO file.

    The ``id`` of an object is its file and line; an outline is its ``segmentation``.

    Args:
        description: the ``data.yaml``.
        split: ``train``, ``val`` or ``test``.
        problems: a message for each fault, with its file and line, is added; such objects are left out.
        size_of: gives ``(height, width)`` of a file name; default: reads the image's header.
    """
    root = description.root
    size_of = size_of or (lambda name: image_size(root / name))
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    labeled = 0
    files = description.images(split)
    for file in files:
        name = file.relative_to(root).as_posix() if file.is_relative_to(root) else file.as_posix()
        try:
            height, width = size_of(name)
        except InputError as error:
            problems.append(str(error))
            continue
        images.append({"id": name, "file_name": name, "height": height, "width": width})
        labels = label_file(file)
        if labels.is_file():
            labeled += 1
            annotations.extend(_objects(labels, name, (height, width), description, problems))
    if files and not labeled and not problems:
        raise InputError(
            f"{description.path}: none of the {len(files)} images of '{split}' has labels: looked for "
            f"{label_file(files[0])} and others like it"
        )
    categories = [{"id": number, "name": name} for number, name in enumerate(description.names, start=1)]
    return {"images": images, "annotations": annotations, "categories": categories}


def _objects(
    labels: Path, image_id: str, size: tuple[int, int], description: Description, problems: list[str]
) -> Iterator[dict[str, Any]]:
    """The objects of a label file in COCO's form."""
    try:
        lines = labels.read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"{labels}: cannot read this label file ({error})")
        return
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        problem, label, values = _parsed(line.split(), description)
        if problem:
            problems.append(f"{labels}:{number}: {problem}")
            continue
        identity = {"id": f"{labels}:{number}", "image_id": image_id, "category_id": label + 1}
        yield identity | (_box(values, size) if len(values) == 4 else _outline(values, size))


def _parsed(words: Sequence[str], description: Description) -> tuple[str | None, int, list[float]]:
    """The fault of a line or None, its class, and its other numbers: 4 of a box, or at least 6 of an outline."""
    try:
        numbers = [float(word) for word in words]
    except ValueError:
        return f"{' '.join(words)[:60]!r} are not all numbers", 0, []
    label, values = numbers[0], numbers[1:]
    keypoints = math.prod(description.content.get("kpt_shape") or [0])
    if keypoints and len(values) == 4 + keypoints:
        values = values[:4]
    if len(values) != 4 and (len(values) < 6 or len(values) % 2):
        return f"a label is a class and 4 numbers, or at least 3 points; this line has {len(numbers)} numbers", 0, []
    if label not in range(len(description.names)):
        return f"the class {words[0]} is not among 0..{len(description.names) - 1} of {description.path.name}", 0, []
    if not all(-_OUTSIDE <= value <= 1 + _OUTSIDE for value in values):
        return f"{' '.join(words[1:5])} are not all fractions of the image's size, which lie in 0..1", 0, []
    return None, int(label), values


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
