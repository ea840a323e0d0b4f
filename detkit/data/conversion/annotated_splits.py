"""Read the splits of a folder in any format with boxes, to be written in another one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from detkit.data.conversion.map_objects import objects_of_maps, tells_instances_apart
from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco import find_split, has_split
from detkit.data.formats.coco_faults import read_coco_with_faults
from detkit.data.formats.cvat.cvat_dataset import read_cvat_split
from detkit.data.formats.cvat.cvat_folders import CvatFolder
from detkit.data.formats.labelme.labelme_dataset import read_labelme
from detkit.data.formats.labelme.labelme_files import image_bytes
from detkit.data.formats.labelme.labelme_folders import labelme_splits
from detkit.data.formats.open_dataset import has_split_of, open_split
from detkit.data.formats.voc import read_voc
from detkit.data.formats.writers import AnnotatedSplit
from detkit.data.formats.yolo_txt import read_yolo
from detkit.data.formats.yolo_yaml import find_description, read_description
from detkit.data.layouts.voc_folders import find_image_sets, find_splits
from detkit.files import read_json, write_whole
from detkit.files.annotation_formats import BoxFormat, Format

SPLITS = ("train", "val", "test")


def read_splits(
    root: Path,
    format: Format,
    names: Sequence[str] | None,
    class_names: Sequence[str] | None,
    problems: list[str],
    with_masks: bool,
    extracted: Path,
    components: bool | None = None,
) -> list[AnnotatedSplit]:
    """The splits of a folder, as the reader of its format gives them.

    Args:
        root: the folder; of YOLO, its ``data.yaml`` too.
        format: of the folder; not ``folders``.
        names: the splits; None: all of `SPLITS` that exist.
        class_names: of VOC, LabelMe and CVAT, the classes in the order of their labels.
        problems: a message for each fault is added; what is wrong is left out.
        with_masks: whether the masks of a COCO file are read too.
        extracted: a folder for the images that are in annotation files alone.
        components: of label maps, as of `objects_of_maps`; None: maps that do not tell instances apart have no objects.
    """
    if format == "coco":
        names = names or [name for name in SPLITS if has_split(root, name)] or SPLITS[:1]
        found = [(name, *find_split(root, name)) for name in names]
        return [
            AnnotatedSplit(name, read_coco_with_faults(path, problems, with_masks), images)
            for name, images, path in found
        ]
    if format == "voc":
        names = names or find_splits(root, SPLITS) or SPLITS[:1]
        sets = {name: find_image_sets(root, name) for name in names}
        return [AnnotatedSplit(name, read_voc(root, sets[name], class_names, problems), root) for name in names]
    if format == "labelme":
        names = names or labelme_splits(root)
        read = {name: read_labelme(root, name, class_names, problems) for name in names}
        return [AnnotatedSplit(name, _extracted(content, extracted), root) for name, content in read.items()]
    if format == "cvat":
        names = names or CvatFolder(root).splits()
        return [AnnotatedSplit(name, read_cvat_split(root, name, class_names, problems), root) for name in names]
    if format not in get_args(BoxFormat):
        names = names or [name for name in SPLITS if has_split_of(root, name, format)] or SPLITS[:1]
        opened = [(name, open_split(root, name, format, class_names)) for name in names]
        return [AnnotatedSplit(name, _map_content(one, components), one.images_path) for name, one in opened]
    description = read_description(find_description(root))
    names = names or description.splits or SPLITS[:1]
    return [AnnotatedSplit(name, read_yolo(description, name, problems), description.root) for name in names]


def _map_content(dataset: DetectionDataset, components: bool | None) -> dict[str, Any]:
    if components is None and not tells_instances_apart(dataset):
        return dataset.packed_annotations.to_coco()
    return objects_of_maps(dataset, bool(components))


def _extracted(content: dict[str, Any], folder: Path) -> dict[str, Any]:
    """The content, with a file for each image that only a JSON file of LabelMe holds."""
    for image in content["images"]:
        if "embedded_in" in image:
            file = folder / f"{image['file_name']}.image"
            write_whole(file, image_bytes(read_json(image["embedded_in"]), image["embedded_in"]))
            image["file_name"] = str(file)
    return content
