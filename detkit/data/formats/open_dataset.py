"""Detect the format of a folder of annotated images, and open a split of it."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco import CocoDataset, find_annotations, find_split, has_split
from detkit.data.formats.coco_annotations import OnBad
from detkit.data.formats.cvat.cvat_dataset import CvatDataset
from detkit.data.formats.cvat.cvat_folders import CvatFolder, is_cvat
from detkit.data.formats.image_folder import ImageFolderDataset, has_images_of, is_image_folder
from detkit.data.formats.labelme.labelme_dataset import LabelMeDataset
from detkit.data.formats.labelme.labelme_folders import is_labelme, labelme_splits
from detkit.data.formats.maps.coco_panoptic import find_panoptic_file
from detkit.data.formats.maps.map_formats import has_map_split, map_format_of, open_map_split
from detkit.data.formats.shapenet.shapenet_dataset import ShapeNetDataset
from detkit.data.formats.shapenet.shapenet_folders import is_shapenet, read_splits_file, splits_file
from detkit.data.formats.voc import VocDataset
from detkit.data.formats.yolo_txt import YoloDataset
from detkit.data.formats.yolo_yaml import find_description, is_yolo, read_description
from detkit.data.layouts.voc_folders import find_splits, is_voc, is_voc_folder, voc_folders
from detkit.data.old_flags import takes_old_flags
from detkit.errors import InputError
from detkit.files import visible
from detkit.files.annotation_formats import BoxFormat, Format


def format_of(root: Path) -> Format:
    """Detect the format of a folder.

    COCO has a JSON file for the split ``train``, YOLO a ``data.yaml``, or ``classes.txt`` and labels, VOC
    ``Annotations/*.xml``, also one level down, CVAT an XML file with ``<annotations>``, LabelMe JSON files with shapes,
    ImageNet's layout images in ``train/{class}/`` or ``{class}/``, ShapeNet ``ShapeNetRendering/``. Where there is none
    of these, formats of maps are recognized by their folders. The default is COCO.

    Raises:
        InputError: it is in several formats, or holds folders in several.
    """
    if not root.is_dir():
        return "yolo" if is_yolo(root) else "coco"
    if is_shapenet(root):  # first, for it has so many files that others would look at
        return "shapenet"
    formats = _signs(root)
    if len(formats) > 1:
        listed = " and ".join(f"{format} ({sign})" for format, sign in formats.items())
        one = next(reversed(formats))
        raise InputError(
            f"{root} is in several formats, {listed}: choose one, such as --data.format {one} (convert: --from {one})"
        )
    if formats:
        return "coco_panoptic" if list(formats) == ["coco"] and _is_panoptic_alone(root) else next(iter(formats))
    years = voc_folders(root)
    nested: list[tuple[Path, BoxFormat]] = [(folder, "voc") for folder in years]
    for folder in visible(root.glob("*/")):
        nested += [(folder, format) for format in _signs(folder) if format != "voc"]
    if len({format for _, format in nested}) > 1:
        listed = " and ".join(f"{folder.relative_to(root)}/ ({format})" for folder, format in nested)
        raise InputError(f"{root} holds data sets in several formats, {listed}: give one of these folders instead")
    if is_voc(root):
        return "voc"
    if is_cvat(root):
        return "cvat"
    if not nested and is_labelme(root):
        return "labelme"
    if is_image_folder(root):
        return "folders"
    if any(has_split(root, split, also_unnamed=True) for split in ("train", "val", "test")):
        return "coco_panoptic" if _is_panoptic_alone(root) else "coco"
    return (None if nested else map_format_of(root)) or "coco"


def _is_panoptic_alone(root: Path) -> bool:
    """Whether the COCO files of a folder are of panoptic maps."""
    splits = [split for split in ("train", "val", "test") if has_split(root, split)]
    try:
        return bool(splits) and all(find_annotations(root, one) == find_panoptic_file(root, one) for one in splits)
    except InputError:  # several files fit
        return False


def _signs(folder: Path) -> dict[BoxFormat, str]:
    """The formats with boxes that a folder itself has, and how that is seen."""
    signs: dict[BoxFormat, str] = {}
    if has_split(folder, "train"):
        signs["coco"] = "a JSON file of the split train"
    if is_yolo(folder):
        signs["yolo"] = find_description(folder).name
    if is_voc_folder(folder):
        signs["voc"] = "Annotations/"
    return signs


def has_split_of(root: Path, split: str, format: Format | None = None) -> bool:
    """Whether a folder has a split.

    Args:
        root: the folder; of YOLO, its ``data.yaml`` too.
        split: such as ``val``.
        format: None: detected by `format_of`.

    Raises:
        InputError: it is in several formats, or its ``data.yaml`` is wrong.
    """
    format = format or format_of(root)
    if format == "coco":
        return has_split(root, split, also_unnamed=True)
    if format == "voc":
        return split in find_splits(root, (split,))
    if format == "yolo":
        return split in read_description(find_description(root)).splits
    if format == "folders":
        return has_images_of(root, split)
    if format == "shapenet":
        return split in read_splits_file(splits_file(root))
    if format == "labelme":
        return split in labelme_splits(root)
    return split in CvatFolder(root).splits() if format == "cvat" else has_map_split(root, split, format)


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
    """Open a split of a folder in any of the formats; see `CocoDataset`, `VocDataset`, `YoloDataset`, `LabelMeDataset`,
    `CvatDataset`, `ImageFolderDataset`, `ShapeNetDataset` and `detkit.data.formats.maps`.

    Args:
        root: the folder; of YOLO, its ``data.yaml`` too.
        split: such as ``train``.
        format: None: detected by `format_of`.
        class_names: of VOC, LabelMe and CVAT, see `VocDataset`; of maps, see `MapFolderDataset`.
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
    if format == "shapenet":
        return ShapeNetDataset(split, root, reads, on_bad_image)
    if format == "voc":
        return VocDataset(root, split, class_names, reads, on_bad_image, on_bad_box)
    if format == "labelme":
        return LabelMeDataset(root, split, class_names, reads, on_bad_image, on_bad_box)
    if format == "cvat":
        return CvatDataset(root, split, class_names, reads, on_bad_image, on_bad_box)
    if format == "yolo":
        return YoloDataset(root, split, reads, on_bad_image, on_bad_box)
    return open_map_split(root, split, format, class_names, reads, on_bad_image, on_bad_box)
