"""The formats of maps: which one a folder has, and opening a split of it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from pathlib import Path

from detkit.data.detection_dataset import DetectionDataset
from detkit.data.formats.coco_annotations import OnBad
from detkit.data.formats.maps.coco_panoptic import find_panoptic_file, open_panoptic
from detkit.data.formats.maps.map_dataset import MapDataset
from detkit.data.formats.maps.map_folder import MapFolderDataset, is_map_folder
from detkit.data.formats.maps.road_scenes import CamVidDataset, CityscapesDataset, is_camvid, is_cityscapes
from detkit.data.formats.maps.stuff_scenes import Ade20kDataset, CocoStuffDataset, is_ade20k, is_coco_stuff
from detkit.data.formats.maps.voc_segmentation import VocSegmentationDataset, is_voc_segmentation
from detkit.files.annotation_formats import MapFormat

_LAYOUTS: dict[MapFormat, type[MapDataset]] = {
    "voc_segmentation": VocSegmentationDataset,
    "cityscapes": CityscapesDataset,
    "ade20k": Ade20kDataset,
    "camvid": CamVidDataset,
    "coco_stuff": CocoStuffDataset,
}

_RECOGNIZED: dict[MapFormat, Callable[[Path], bool]] = {
    "cityscapes": is_cityscapes,
    "camvid": is_camvid,
    "ade20k": is_ade20k,
    "coco_stuff": is_coco_stuff,
    "voc_segmentation": is_voc_segmentation,
    "coco_panoptic": lambda root: any(find_panoptic_file(root, split) for split in ("train", "val")),
    "maps": is_map_folder,
}
"""In this order; a folder may also fit those that follow."""


def map_format_of(root: Path) -> MapFormat | None:
    """The format of maps that a folder has; None where there is none."""
    return next((name for name, recognizes in _RECOGNIZED.items() if recognizes(root)), None)


def has_map_split(root: Path, split: str, format: MapFormat) -> bool:
    """Whether a folder in a format of maps has a split."""
    if format == "coco_panoptic":
        return find_panoptic_file(root, split) is not None
    return (MapFolderDataset if format == "maps" else _LAYOUTS[format]).has_split(root, split)


def open_map_split(
    root: Path,
    split: str,
    format: MapFormat,
    class_names: Sequence[str] | None,
    reads: Collection[str],
    on_bad_image: OnBad,
    on_bad_box: OnBad,
) -> DetectionDataset:
    """Open a split of a folder in a format of maps; arguments and errors as of `open_split`."""
    if format == "coco_panoptic":
        return open_panoptic(root, split, reads, on_bad_image, on_bad_box)
    if format == "maps":
        return MapFolderDataset(split, root, class_names, None, reads, on_bad_image)
    return _LAYOUTS[format](root, split, reads, on_bad_image)
