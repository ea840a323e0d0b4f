"""Data sets of CVAT: XML 1.1 "for images" or "for video", with the images that are exported beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detkit.data.formats.cvat.cvat_folders import CvatFolder
from detkit.data.formats.cvat.cvat_labels import listed_labels, used_labels
from detkit.data.formats.cvat.cvat_reader import CvatFile
from detkit.data.formats.regions.region_dataset import RegionDataset
from detkit.data.layouts.class_lists import category_entries, numbered_classes


class CvatDataset(RegionDataset):
    """Images and targets of one split of an export of CVAT.

    ``dataset[i]`` is ``(image, target)``: uint8 RGB ``(3, H, W)`` and the `Target` in its pixels. The id of an image is
    its path in `root`. Boxes, polygons, ellipses and masks are objects; lines, points, cuboids, skeletons and tags are
    not. Attributes, groups, ``occluded`` and ``z_order`` are not read.

    Args:
        root: the folder that holds ``annotations.xml`` and ``images/``, or a folder of that kind for each split.
        split: the folder, or the subset of the images; ``train`` is all images where there is neither.
        class_names: the classes in the order of their labels; None: in the order of the labels in the XML.
        reads: the fields of targets to read besides boxes, labels and areas: ``masks``.
        on_bad_image: as of `CocoDataset`.
        on_bad_box: as of `CocoDataset`.

    Raises:
        InputError: the split is missing, or the XML is wrong; the message names the first line that is, and how many
            others are.
    """

    called = "an export of CVAT"

    def read_split(self, problems: list[str], bad_boxes: list[str]) -> dict[str, Any]:
        return read_cvat_split(self.images_path, self.split, self.class_names, problems, bad_boxes)


def read_cvat_split(
    root: Path,
    split: str,
    class_names: Sequence[str] | None,
    problems: list[str],
    bad_boxes: list[str] | None = None,
) -> dict[str, Any]:
    """Read the images and objects of a split as the content of a COCO file.

    Args:
        root: the folder that file names in the result are relative to.
        split: see `CvatDataset`.
        class_names: see `CvatDataset`.
        problems: a message for each fault, with its file and line, is added; such objects are left out.
        bad_boxes: the list for those whose region is wrong; None: `problems`.
    """
    bad_boxes = problems if bad_boxes is None else bad_boxes
    folder = CvatFolder(root)
    files = [(path, folder.tree(path), subset) for path, subset in folder.files(split)]
    listed = dict.fromkeys(label for _, tree, _ in files for label in listed_labels(tree))
    numbers = numbered_classes(class_names or listed or _used_in_all_splits(folder), root)
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for path, tree, subset in files:
        read = CvatFile(path, tree, root).read(subset, numbers, problems, bad_boxes)
        images += read[0]
        annotations += read[1]
    return {"images": images, "annotations": annotations, "categories": category_entries(numbers)}


def _used_in_all_splits(folder: CvatFolder) -> list[str]:
    """All labels of all splits, sorted, so that each split has the same."""
    return sorted({label for tree in folder.trees_of_all_splits() for label in used_labels(tree)})
