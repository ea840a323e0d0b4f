"""The objects of data sets of maps, as the content of a COCO file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from detkit.data.detection_dataset import DetectionDataset
from detkit.errors import InputError
from detkit.ops.maps.connected_components import connected_components
from detkit.ops.masks.numbered import numbered_boxes, numbered_to_rle
from detkit.structures.image_fields import IGNORE_INDEX, INSTANCES

_BACKGROUND = "background"


def tells_instances_apart(dataset: DetectionDataset) -> bool:
    """Whether a data set of maps has panoptic maps."""
    return "panoptic_map" in dataset.readable


def objects_of_maps(dataset: DetectionDataset, components: bool) -> dict[str, Any]:
    """The images of a data set of maps, and an object with a mask for each instance of a thing.

    Args:
        dataset: of maps.
        components: make an object of each connected component of each class of things in a label map, pixels that share
            a corner being connected. A class called background has no objects.

    Raises:
        InputError: its maps do not tell instances apart, and `components` is not set.
    """
    if not (components or tells_instances_apart(dataset)):
        raise InputError(
            f"{dataset.annotations_path}: its label maps do not tell the objects of a class apart; with --components "
            "each connected component becomes an object, so that objects that touch are one"
        )
    reading = dataset.reading({"label_map" if components else "panoptic_map"})
    content = reading.packed_annotations.to_coco()
    for image in content["images"]:
        image.pop("label_map", None)
        image.pop("panoptic_map", None)
    annotations: list[dict[str, Any]] = []
    for index, image in enumerate(content["images"]):
        target = reading.target(index)
        given = target.label_map if components else target.panoptic_map
        if given is None:
            continue
        numbers, labels, are_crowds = (_components if components else _segments)(given.numpy(), dataset)
        for label, is_crowd, entry in zip(labels, are_crowds, _entries(numbers, len(labels)), strict=True):
            category = dataset.categories[label]
            if category.is_thing:
                annotations.append(
                    {
                        "id": len(annotations) + 1,
                        "image_id": image["id"],
                        "category_id": category.id,
                        "iscrowd": int(is_crowd),
                        **entry,
                    }
                )
    return {**content, "annotations": annotations}


def _components(labels: np.ndarray, dataset: DetectionDataset) -> tuple[np.ndarray, list[int], list[bool]]:
    """The components of the classes of things: their numbers ``(H, W)``, from 1, their labels, and whether each is a
    crowd, which none is."""
    ignore = IGNORE_INDEX[torch.from_numpy(labels).dtype]
    things = [
        label
        for label in np.unique(labels[labels != ignore]).tolist()
        if dataset.categories[label].is_thing and dataset.categories[label].name.casefold() != _BACKGROUND
    ]
    numbers, classes = connected_components(labels, things)
    return numbers, classes.tolist(), [False] * len(classes)


def _segments(panoptic_map: np.ndarray, dataset: DetectionDataset) -> tuple[np.ndarray, list[int], list[bool]]:
    """As `_components`, the segments of a panoptic map, stuff too; one without an instance is a crowd."""
    values = np.unique(panoptic_map[panoptic_map >= 0])
    numbers = np.where(panoptic_map >= 0, np.searchsorted(values, panoptic_map) + 1, 0)
    return numbers, (values // INSTANCES).tolist(), (values % INSTANCES == 0).tolist()


def _entries(numbers: np.ndarray, count: int) -> list[dict[str, Any]]:
    """Boxes, areas and run lengths of numbered objects, none of them empty."""
    masks = numbered_to_rle(numbers, count)
    corners, areas = numbered_boxes(numbers, count).int().tolist(), masks.areas().tolist()
    return [
        {
            "bbox": [left, top, right - left, bottom - top],
            "area": area,
            "segmentation": {**runs, "counts": runs["counts"].decode("ascii")},
        }
        for (left, top, right, bottom), area, runs in zip(corners, areas, masks.to_coco(), strict=True)
    ]
