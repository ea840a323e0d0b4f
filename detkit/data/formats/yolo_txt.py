"""Folders in YOLO's layout: a ``data.yaml``, images, and for each image a text file of labels.

A label is a line ``class x y width height``: the center and the size of the box as fractions of the image's. A line
with more numbers is ``class x1 y1 x2 y2 x3 y3 …``, the outline of the object, in fractions too. The layout began with
darknet (https://pjreddie.com/darknet/yolo); the ``data.yaml`` came with later programs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

import yaml

from detkit.data.dataset import DetectionDataset
from detkit.data.formats.annotations import OnBad, pack_annotations
from detkit.data.formats.problems import stop_at
from detkit.data.formats.readers import MaskReader
from detkit.data.old_flags import takes_old_flags
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.images import IMAGE_SUFFIXES, image_size

SizeOf = Callable[[str], tuple[int, int]]

_OUTSIDE = 0.01  # how far rounding may carry a fraction out of 0..1


class YoloDataset(DetectionDataset):
    """Images and targets of one split of a ``data.yaml``.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. The id of an image is
    its path, relative to the ``path`` of the ``data.yaml``. An image without a label file has no objects.

    Args:
        data: the ``data.yaml``, or the folder that it lies in.
        split: ``train``, ``val`` or ``test``.
        reads: the fields of targets to read beside boxes, labels and areas: ``masks``, of outlines, and the box filled
            for objects without one.
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
        stop_at(problems, self.images_path)
        size_of = self._size_in_file(on_bad_image)
        # Outlines are of the ground truth whether or not targets are to have them.
        masks = {"masks"} if any("segmentation" in one for one in content["annotations"]) else set()
        readers = {"masks": MaskReader(warns="masks" in self.reads)}
        return pack_annotations(
            content, self.annotations_path, size_of, self.reads | masks, self._on_bad_box, readers=readers
        )


class Description:
    """What a ``data.yaml`` says.

    Args:
        path: of the file.
        content: what it holds.

    Attributes:
        root: the folder that its paths are relative to.
        names: the classes, in the order of their labels.
    """

    def __init__(self, path: Path, content: dict[str, Any]) -> None:
        self.path, self.content = path, content
        self.names = _names(content, path)
        stated = path.parent / str(content.get("path") or "")
        self.root = stated if stated.is_dir() or not content.get("path") else Path(content["path"])
        if not self.root.is_dir():
            raise InputError(
                f"{path}: the 'path' {content['path']!r} is no folder, neither from here nor beside the file"
            )

    @property
    def splits(self) -> list[str]:
        """Those of train, val and test that it names."""
        return [split for split in ("train", "val", "test") if self.content.get(split)]

    def images(self, split: str) -> list[Path]:
        """The image files of a split, in order.

        Raises:
            InputError: the split is not there, or names no images.
        """
        entries = self.content.get(split) or (self.content.get("valid") if split == "val" else None)
        if not entries:
            present = ", ".join(self.splits) or "none of train, val and test"
            raise InputError(f"{self.path} names no '{split}' images, it has {present}; add the folder or list of them")
        entries = entries if isinstance(entries, list) else [entries]
        found = [file for entry in entries for file in self._files(str(entry), split)]
        if not found:
            raise InputError(f"{self.path}: there is no image in '{split}': {', '.join(map(str, entries))}")
        return list(dict.fromkeys(found))

    def _files(self, entry: str, split: str) -> Iterator[Path]:
        """The image files that a folder, list or file names."""
        place = self._place(entry)
        if place is None:
            raise InputError(f"{self.path}: '{split}' is {entry}, which is neither in {self.root} nor elsewhere")
        if place.is_dir():
            files = sorted(place.rglob("*"))
            yield from (file for file in files if file.suffix.lower() in IMAGE_SUFFIXES)
        elif place.suffix == ".txt":
            for line in place.read_text("utf-8-sig").splitlines():
                if line.strip():
                    yield self._listed(line.strip(), place)
        else:
            yield place

    def _place(self, entry: str) -> Path | None:
        """Where a path of the file leads: from its root, or, as some exports have it, one folder too high."""
        candidates = [self.root / entry, self.path.parent / entry, self.root / entry.removeprefix("../")]
        return next((candidate for candidate in candidates if candidate.exists()), None)

    def _listed(self, line: str, place: Path) -> Path:
        """An image that a list names, relative to the list, to the root, or to the working folder."""
        candidates = [place.parent / line, self.root / line, Path(line)]
        return next((candidate for candidate in candidates if candidate.is_file()), candidates[0])


def find_description(data: Path) -> Path:
    """The ``data.yaml`` of a folder, or `data` itself where it is a file.

    Raises:
        InputError: there is none, or more than one file that could be it.
    """
    if data.is_file():
        return data
    found = [data / name for name in ("data.yaml", "data.yml", "dataset.yaml") if (data / name).is_file()]
    found = found[:1] or [path for path in sorted(data.glob("*.y*ml")) if _looks_like_one(path)]
    if len(found) == 1:
        return found[0]
    if found:
        raise InputError(f"{data}: {', '.join(path.name for path in found)} could each be the data.yaml; name one")
    raise InputError(f"{data}: there is no data.yaml, which names the images and the classes of a YOLO folder")


def is_yolo(data: Path) -> bool:
    """Whether `data` is a ``data.yaml`` or a folder with one."""
    try:
        return data.suffix in (".yaml", ".yml") or bool(data.is_dir() and find_description(data))
    except InputError:
        return False


def _looks_like_one(path: Path) -> bool:
    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except (OSError, yaml.YAMLError, UnicodeDecodeError):
        return False
    return isinstance(content, dict) and {"names", "train"} <= content.keys()


def read_description(path: Path) -> Description:
    """Read a ``data.yaml``.

    Raises:
        InputError: it is not YAML, or has no classes, or its ``path`` is no folder.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8-sig"))
    except OSError as error:
        raise InputError(f"{path}: cannot read this file ({error.strerror})") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: this is not YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: a data.yaml has the keys train, val and names, this one holds {content!r:.60}")
    return Description(path, content)


def _names(content: dict[str, Any], path: Path) -> list[str]:
    names = content.get("names")
    if isinstance(names, dict):
        if sorted(names) != list(range(len(names))):
            raise InputError(f"{path}: 'names' must number the classes 0, 1, 2 …, it has {list(names)[:20]}")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{path}: 'names' must list the classes, it is {names!r:.60}")
    if content.get("nc", len(names)) != len(names):
        raise InputError(f"{path}: 'nc' is {content['nc']!r}, but 'names' has {len(names)} classes")
    return [str(name) for name in names]


def label_file(image: Path) -> Path:
    """Where the labels of an image are: its last folder ``images`` (darknet: ``JPEGImages``) replaced by ``labels``, or
    beside the image where it lies in no such folder."""
    parts = list(image.parts)
    for position in range(len(parts) - 2, -1, -1):
        if parts[position] in ("images", "JPEGImages"):
            parts[position] = "labels"
            break
    return Path(*parts).with_suffix(".txt")


def read_yolo(
    description: Description, split: str, problems: list[str], size_of: SizeOf | None = None
) -> dict[str, Any]:
    """The content of a COCO file with the images and objects of a split.

    Objects have as ``id`` the file and line that they stand in, and outlines as ``segmentation``.

    Args:
        description: the ``data.yaml``.
        split: ``train``, ``val`` or ``test``.
        problems: what is wrong with files is added, each with its file and line; the objects are left out.
        size_of: gives ``(height, width)`` of a file name; default: reads the image's header.
    """
    root = description.root
    size_of = size_of or (lambda name: image_size(root / name))
    images, annotations, labeled = [], [], 0
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
    """What is wrong with a line, or its class and its other numbers: 4 of a box, or at least 6 of an outline."""
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
