"""Data sets in PASCAL VOC's layout: ``Annotations/*.xml``, ``ImageSets/Main/*.txt``, ``JPEGImages/``.

Format: Everingham et al., "The PASCAL Visual Object Classes Challenge 2007 (VOC2007) Development Kit", section 3.
VOC counts pixels from 1 and its corners are part of the box, so that ``xmin ymin xmax ymax`` is our
``xmin - 1, ymin - 1, xmax, ymax``.
"""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Collection, Sequence
from pathlib import Path, PurePath
from typing import Any

from detkit.coco_files.entry_lists import LARGEST
from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad, pack_annotations
from detkit.data.formats.field_readers import COCO_READERS
from detkit.data.formats.file_problems import raise_problems
from detkit.data.formats.maps.voc_segmentation import VocMapReader
from detkit.data.layouts.class_lists import category_entries, listed_classes, not_among, numbered_classes
from detkit.data.layouts.voc_folders import ANNOTATION_FOLDERS, find_image_sets, find_splits, voc_folders
from detkit.data.old_flags import takes_old_flags
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.deprecation import moved_names
from detkit.errors import InputError
from detkit.files import visible, visible_below
from detkit.files.text_documents import flag_in, numbers_in, read_lines, whole_number_in
from detkit.files.xml_documents import Element, read_xml
from detkit.images import is_image

__getattr__ = moved_names(
    __name__,
    {
        "Element": "detkit.files.xml_documents.Element",
        "find_splits": "detkit.data.layouts.voc_folders.find_splits",
        "is_voc": "detkit.data.layouts.voc_folders.is_voc",
        "parse_xml": "detkit.data.formats.voc.read_annotation",
    },
)

NAMES_FILES = ("classes.txt", "labels.txt")
IMAGE_FOLDERS = ("JPEGImages", "images")

_MOST_PIXELS = 2**20
"""Of a side: OpenCV reads no more."""


class VocDataset(DetectionDataset):
    """Images and targets of one image set of a VOC folder.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels, with
    ``Target.difficult``. The id of an image is its name without suffix. Parts, poses and ``truncated`` are not read.

    Args:
        root: the folder that holds ``Annotations/``, such as ``VOC2007``, or one that holds several of these: then
            all that have the image set are taken together, and ids begin with the folder, as ``VOC2007/000005``.
        split: the image set, ``ImageSets/Main/{split}.txt``.
        class_names: the classes in the order of their labels. None: the lines of ``classes.txt`` or ``labels.txt`` in
            `root`, else all names that occur in ``Annotations/``, sorted.
        reads: the fields of targets to read besides boxes, labels, areas and difficulty: ``masks``, which are
            the filled boxes: VOC's XML has no masks; ``label_map`` from ``SegmentationClass/``, see `VocMapReader`.
        on_bad_image: as of `CocoDataset`.
        on_bad_box: as of `CocoDataset`.

    Raises:
        InputError: the folder is no VOC folder, the image set is missing, or an annotation is wrong; the message
            names the first file and line that is, and how many others are.
    """

    readable = frozenset({"masks", "label_map"})
    called = "a VOC folder"

    @takes_old_flags(4, ("with_masks",))
    def __init__(
        self,
        root: str | Path,
        split: str = "train",
        class_names: Sequence[str] | None = None,
        reads: Collection[str] = (),
        on_bad_image: OnBad = "error",
        on_bad_box: OnBad = "error",
    ) -> None:
        self.image_sets = find_image_sets(Path(root), split)
        self.class_names = class_names
        self._on_bad_box: OnBad = on_bad_box
        source = self.image_sets[0] if len(self.image_sets) == 1 else Path(root)
        super().__init__(Path(root), source, reads, on_bad_image)

    def read_annotations(self, on_bad_image: OnBad) -> PackedAnnotations:
        problems: list[str] = []
        bad_boxes: list[str] = []
        content = read_voc(self.images_path, self.image_sets, self.class_names, problems, bad_boxes)
        raise_problems(problems, self.annotations_path, bad_boxes, self._on_bad_box)
        size_of = self._size_in_file(on_bad_image)
        options = self.reads, self._on_bad_box, self.images_path, {**COCO_READERS, "label_map": VocMapReader()}
        return pack_annotations(content, self.annotations_path, size_of, *options)


def read_voc(
    root: Path,
    image_sets: Sequence[Path],
    class_names: Sequence[str] | None,
    problems: list[str],
    bad_boxes: list[str] | None = None,
) -> dict[str, Any]:
    """Read the images and objects of some image sets as the content of a COCO file.

    Objects have ``difficult``, and their ``id`` is their file, line and number in it.

    Args:
        root: the folder that file names in the result are relative to.
        image_sets: as of `find_image_sets`.
        class_names: see `VocDataset`.
        problems: a message for each fault, with its file and line, is added; such objects are left out.
        bad_boxes: the list for those whose box is wrong; None: `problems`.
    """
    bad_boxes = problems if bad_boxes is None else bad_boxes
    names = class_names or listed_classes(root, NAMES_FILES) or _annotated_names(root, image_sets)
    numbers = numbered_classes(names, root)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for image_set in image_sets:
        folder = _voc_folder(image_set)
        prefix = f"{folder.relative_to(root).as_posix()}/" if len(image_sets) > 1 else ""
        images_folder = folder if folder == image_set else _images_folder(folder, image_set.name)
        files, relative = _files_by_stem(images_folder), images_folder.relative_to(root).as_posix()
        for stem, path in _annotation_files(image_set, problems).items():
            tree = read_annotation(path, problems)
            if tree is None:
                continue
            image_id = f"{prefix}{stem}"
            file = _image_file(tree, files.get(stem) or [f"{stem}.jpg"], path, problems)
            images.append({"id": image_id, "file_name": f"{relative}/{file}", **_size(tree, path, problems)})
            source = path.relative_to(root).as_posix()
            for number, entry in enumerate(tree.children("object"), start=1):
                values = _object(entry, numbers, path, problems, bad_boxes)
                if values is not None:
                    # The line alone is no id: some programs write a whole file in one line.
                    identity = {"id": f"{source}:{entry.line}, object {number}", "image_id": image_id}
                    annotations.append(identity | values)
    return {"images": images, "annotations": annotations, "categories": category_entries(numbers)}


def _annotated_names(root: Path, image_sets: Sequence[Path]) -> list[str]:
    """All names of objects in any annotation, so that every image set has the same labels."""
    names: set[str] = set()
    folders = [folder / "Annotations" for folder in voc_folders(root)]
    if any(path.is_dir() for path in image_sets):  # which nothing lists
        folders = [path for split in find_splits(root) for path in find_image_sets(root, split)]
    for folder in folders:
        for path in visible(folder.glob("*.xml")):
            try:
                names.update(entry.child("name").text for entry in read_xml(path).children("object"))
            except InputError:
                continue  # reported where an image set lists the file
    return sorted(names - {""})


def _voc_folder(image_set: Path) -> Path:
    """The folder that an image set belongs to: with ``Annotations/``, or of XML files beside images."""
    if not image_set.is_dir():
        return image_set.parents[2]
    if image_set.parent.name in ANNOTATION_FOLDERS:  # the folder of a split
        return image_set.parents[1]
    return image_set.parent if image_set.name in ANNOTATION_FOLDERS else image_set


def _images_folder(folder: Path, split: str) -> Path:
    """The images of a VOC folder: those of the split where they have a folder for each."""
    images = next((path for name in IMAGE_FOLDERS if (path := folder / name).is_dir()), folder / IMAGE_FOLDERS[0])
    return of_split if (of_split := images / split).is_dir() else images


def _files_by_stem(images: Path) -> dict[str, list[str]]:
    """The image files of a VOC folder, relative to `images`, by their names without suffix."""
    files: dict[str, list[str]] = defaultdict(list)
    for name in sorted(filter(is_image, visible_below(images))):
        files[os.path.splitext(name)[0]].append(name)
    return files


def _annotation_files(image_set: Path, problems: list[str]) -> dict[str, Path]:
    """The annotation file of each image that an image set lists; lists of one class have a second column of numbers."""
    if image_set.is_dir():
        return {path.stem: path for path in visible(image_set.glob("*.xml"))}
    folder = image_set.parents[2] / "Annotations"
    files: dict[str, Path] = {}
    for number, line in read_lines(image_set):
        stem, _, column = line.rpartition(" ")
        has_column = column in ("1", "-1", "0") and not os.path.isfile(folder / f"{line}.xml")
        stem = PurePath((stem.strip() if has_column else line).replace("\\", "/")).as_posix()
        path = folder / f"{stem}.xml"
        if stem.startswith("/") or ".." in PurePath(stem).parts:
            problems.append(f"{image_set}:{number}: {stem!r} is no name of a file in {folder}; write it without .xml")
        elif stem not in files:
            files[stem] = path
            if not os.path.isfile(path):
                del files[stem]
                problems.append(
                    f"{image_set}:{number}: there is no {path}; write the names of images without folder and suffix"
                )
    return files


def read_annotation(path: Path, problems: list[str]) -> Element | None:
    """The element ``annotation`` of a file; None where it cannot be read, which is added to `problems`."""
    try:
        tree = read_xml(path)
    except InputError as error:
        problems.append(str(error))
        return None
    if tree.tag == "annotation":
        return tree
    problems.append(f"{path}:{tree.line}: a VOC file holds an element <annotation>")
    return None


def _image_file(tree: Element, names: Sequence[str], path: Path, problems: list[str]) -> str:
    """The image of an annotation: the one file of its name or, of several, the one that it names."""
    stated = tree.child("filename").text
    if len(names) > 1 and stated not in names:
        problems.append(f"{path}: {' and '.join(names)} are both of its name; give the right one in its <filename>")
    return stated if stated in names else names[0]


def _size(tree: Element, path: Path, problems: list[str]) -> dict[str, int]:
    """Width and height, where the file states them: missing or zero, they are read from the image."""
    element = tree.child("size")
    texts = element.child("width").text, element.child("height").text
    width, height = (whole_number_in(text or "0") for text in texts)
    if width is None or height is None or not (min(width, height) >= 0 and max(width, height) <= _MOST_PIXELS):
        problems.append(f"{path}:{element.line}: {' x '.join(texts):.60} is no width and height in pixels")
        return {}
    return {"width": width, "height": height} if width and height else {}


def _object(
    entry: Element, class_numbers: dict[str, int], path: Path, problems: list[str], bad_boxes: list[str]
) -> dict[str, Any] | None:
    """The class, box and difficulty of an object in COCO's form; None where one is wrong."""
    name, box, difficult = entry.child("name"), entry.child("bndbox"), entry.child("difficult")
    corners = numbers_in(" ".join(box.child(side).text or "nan" for side in ("xmin", "ymin", "xmax", "ymax")))
    flag = flag_in(difficult.text or "0")
    if name.text not in class_numbers:
        problems.append(f"{path}:{name.line or entry.line}: the class {not_among(name.text, class_numbers)}")
    elif flag is None:
        problems.append(f"{path}:{difficult.line}: <difficult> is 0 or 1, not {difficult.text!r:.60}")
    elif corners is None or len(corners) != 4 or not all(-LARGEST <= corner <= LARGEST for corner in corners):
        bad_boxes.append(
            f"{path}:{box.line or entry.line}: an object needs a bndbox with the numbers xmin, ymin, xmax and ymax"
        )
    else:
        xmin, ymin, xmax, ymax = corners
        width, height = round(xmax - xmin + 1, 6), round(ymax - ymin + 1, 6)
        return {
            "category_id": class_numbers[name.text],
            "bbox": [round(xmin - 1, 6), round(ymin - 1, 6), width, height],
            "difficult": int(flag),
        }
    return None
