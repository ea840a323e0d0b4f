"""Data sets of LabelMe: a JSON file for each image, with polygons, rectangles, circles and masks."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from detkit.data.formats.labelme.labelme_files import LabelMeFile, image_bytes, read_labelme_file
from detkit.data.formats.labelme.labelme_folders import json_files, labelme_files
from detkit.data.formats.labelme.labelme_shapes import WITHOUT_AREA, kind_of, region_of
from detkit.data.formats.regions.drawn_regions import Region, box_around, joined
from detkit.data.formats.regions.region_dataset import RegionDataset
from detkit.data.layouts.class_lists import category_entries, listed_classes, not_among, numbered_classes
from detkit.errors import InputError
from detkit.files import read_json
from detkit.images import decode_image

logger = logging.getLogger(__name__)

NAMES_FILES = ("labels.txt", "classes.txt")
_NO_CLASSES = frozenset({"__ignore__", "_background_"})
"""Lines of LabelMe's own labels.txt that are no classes of objects."""


class LabelMeDataset(RegionDataset):
    """Images and targets of one split of a LabelMe folder.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. The id of an image is
    the path of its JSON file without suffix. Shapes of one label and ``group_id`` are one object. The flags ``iscrowd``
    and ``difficult`` of a shape become those of the object; other flags are not read. Lines and points are no objects.

    Args:
        root: the folder of the JSON files, or of folders ``train``, ``val`` and ``test`` with them.
        split: the folder; ``train`` is all files where there are no such folders.
        class_names: the classes in the order of their labels. None: the lines of ``labels.txt`` or ``classes.txt`` in
            `root`, else all labels of its files, sorted.
        reads: the fields of targets to read besides boxes, labels, areas, crowd regions and difficulty: ``masks``.
        on_bad_image: as of `CocoDataset`.
        on_bad_box: as of `CocoDataset`.

    Raises:
        InputError: the split is missing, or a file is wrong; the message names the first file and shape that is, and
            how many others are.
    """

    called = "a LabelMe folder"

    def read_split(self, problems: list[str], bad_boxes: list[str]) -> dict[str, Any]:
        content = read_labelme(self.images_path, self.split, self.class_names, problems, bad_boxes)
        self._embedded = {one["file_name"]: one["embedded_in"] for one in content["images"] if "embedded_in" in one}
        return content

    def read_image(self, index: int) -> np.ndarray:
        """The image as uint8 RGB ``(H, W, 3)``, from its file or else from the ``imageData`` of its JSON.

        Raises:
            InputError: it is missing, broken or has another size than annotated; names the file and the image id.
        """
        path = self._embedded.get(str(self._packed.file_names[index]))
        if path is None:
            return super().read_image(index)
        height, width = self._packed.image_sizes[index].tolist()
        return decode_image(image_bytes(read_json(path), path), path, (height, width))

    def check_files(self) -> None:
        """Nothing to do: the reader has looked for each image."""


def read_labelme(
    root: Path,
    split: str,
    class_names: Sequence[str] | None,
    problems: list[str],
    bad_boxes: list[str] | None = None,
) -> dict[str, Any]:
    """Read the images and objects of a split as the content of a COCO file.

    The ``id`` of an object is its file and shape, counted from 0 as in the file. An image whose pixels are in its JSON
    file alone names that in ``embedded_in``.

    Args:
        root: the folder that file names in the result are relative to.
        split: see `LabelMeDataset`.
        class_names: see `LabelMeDataset`.
        problems: a message for each fault, with its file and shape, is added; such objects are left out.
        bad_boxes: the list for those whose region is wrong; None: `problems`.
    """
    bad_boxes = problems if bad_boxes is None else bad_boxes
    paths = labelme_files(root, split)
    wanted, files = set(paths), []
    names: set[str] = set()
    class_names = class_names or listed_classes(root, NAMES_FILES, _NO_CLASSES)
    for path in paths if class_names else json_files(root):
        file = read_labelme_file(path, root, problems if path in wanted else [])
        if file is not None:
            names.update(shape["label"] for shape in file.shapes.values() if kind_of(shape) not in WITHOUT_AREA)
            files += [file] if path in wanted else []
    numbers = numbered_classes(class_names or sorted(names), root)
    without_area: Counter[str] = Counter()
    annotations = [one for file in files for one in _objects(file, numbers, problems, bad_boxes, without_area)]
    if without_area:
        counts = " and ".join(f"{count} of the kind {kind}" for kind, count in sorted(without_area.items()))
        logger.warning("%s: shapes without area are no objects and were left out: %s", root, counts)
    images = [file.image for file in files]
    return {"images": images, "annotations": annotations, "categories": category_entries(numbers)}


def _objects(
    file: LabelMeFile,
    numbers: Mapping[str, int],
    problems: list[str],
    bad_boxes: list[str],
    without_area: Counter[str],
) -> list[dict[str, Any]]:
    """The objects of an image; shapes of one label and group are one."""
    groups: dict[Any, list[tuple[int, dict[str, Any], Region]]] = {}
    for index, shape in file.shapes.items():
        name = f"{file.path}: shape {index}"
        if kind_of(shape) in WITHOUT_AREA:
            without_area[kind_of(shape)] += 1
        elif shape["label"] not in numbers:
            problems.append(f"{name}: the label {not_among(shape['label'], numbers)}")
        else:
            group = shape.get("group_id")
            key = ("alone", index) if group is None else (shape["label"], str(group))
            try:
                region = region_of(shape)
                groups.setdefault(key, []).append((index, shape, region))
            except InputError as error:
                bad_boxes.append(f"{name}: {error}")
    objects = []
    for parts in groups.values():
        index, shape, region = parts[0]
        try:
            values = joined([region for _, _, region in parts], file.size)
        except InputError as error:
            bad_boxes.append(f"{file.path}: shape {index}: {error}")
            continue
        if len(parts) == 1 and kind_of(shape) == "rectangle" and isinstance(region, list):
            values = {"bbox": box_around(region)}
        identity = {"id": f"{file.image['id']}.json: shape {index}", "image_id": file.image["id"]}
        flags = {key: 1 for key in ("iscrowd", "difficult") if any(_flag(one, key) for _, one, _ in parts)}
        objects.append({**identity, "category_id": numbers[shape["label"]], **values, **flags})
    return objects


def _flag(shape: Mapping[str, Any], name: str) -> bool:
    flags = shape.get("flags")
    return isinstance(flags, dict) and flags.get(name) is True
