"""Detect the format of a folder of annotated images, and open a split of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Literal

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco import CocoDataset, find_split, has_split
from detkit.data.formats.coco_annotations import OnBad
from detkit.data.formats.image_folder import ImageFolderDataset, is_image_folder
from detkit.data.formats.voc import VocDataset, is_voc
from detkit.data.formats.yolo_txt import YoloDataset
from detkit.data.formats.yolo_yaml import is_yolo
from detkit.data.old_flags import takes_old_flags

BoxFormat = Literal["coco", "voc", "yolo"]
"""The formats with boxes."""

Format = Literal["coco", "voc", "yolo", "folders"]
"""All formats; ``folders`` is ImageNet's layout, a folder per class."""


def format_of(root: Path) -> Format:
    """Detect the format of a folder.

    COCO has a JSON file for the split ``train``, YOLO a ``data.yaml``, VOC ``Annotations/*.xml``, also one level down,
    ImageNet's layout images in ``train/{class}/``. They are tried in this order; the default is COCO.
    """
    if root.is_dir() and has_split(root, "train"):
        return "coco"
    if is_yolo(root):
        return "yolo"
    if is_voc(root):
        return "voc"
    return "folders" if root.is_dir() and is_image_folder(root) else "coco"


@takes_old_flags(4)
def open_split(
    root: Path,
    split: str,
    format: Format | None = None,
    class_names: Sequence[str] | None = None,
    reads: Collection[str] = (),
    on_bad_image: OnBad = "error",
    on_bad_box: OnBad = "error",
) -> DetectionDataset:
    """Open a split of a folder in any of the formats; see `CocoDataset`, `VocDataset`, `YoloDataset` and
    `ImageFolderDataset`.

    Args:
        root: the folder; of YOLO, its ``data.yaml`` too.
        split: such as ``train``.
        format: None: detected by `format_of`.
        class_names: of VOC, see `VocDataset`.
        reads: see `CocoDataset`; the other formats have fewer fields.
        on_bad_image: see `CocoDataset`.
        on_bad_box: see `CocoDataset`.

    Raises:
        InputError: the split is missing or wrong, or the format does not have a requested field.
    """
    format = format or format_of(root)
    if format == "coco":
        images, annotations = find_split(root, split)
        return CocoDataset(images, annotations, reads, on_bad_image, on_bad_box)
    if format == "folders":
        return ImageFolderDataset(root, split, on_bad_image, reads)
    if format == "voc":
        return VocDataset(root, split, class_names, reads, on_bad_image, on_bad_box)
    return YoloDataset(root, split, reads, on_bad_image, on_bad_box)
