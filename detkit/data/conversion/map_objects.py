"""The objects of data sets of maps, as the content of a COCO file."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from detkit.data.detection_dataset import DetectionDataset
from detkit.errors import InputError
from detkit.ops import masks_to_rle
from detkit.ops.maps.connected_components import connected_components
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
        if components:
            if target.label_map is None:
                continue
            values = _components(target.label_map.numpy(), dataset)
        else:
            if target.panoptic_map is None:
                continue
            values = target.panoptic_map.numpy()
        for value in np.unique(values[values >= 0]).tolist():
            category = dataset.categories[value // INSTANCES]
            if category.is_thing:
                one = _object(values == value, is_crowd=value % INSTANCES == 0)
                annotations.append(
                    {"id": len(annotations) + 1, "image_id": image["id"], "category_id": category.id, **one}
                )
    return {**content, "annotations": annotations}


def _components(labels: np.ndarray, dataset: DetectionDataset) -> np.ndarray:
    """As a panoptic map, in which the components of the classes of things are numbered from 1."""
    ignore = IGNORE_INDEX[torch.from_numpy(labels).dtype]
    things = [
        label
        for label in np.unique(labels[labels != ignore]).tolist()
        if dataset.categories[label].is_thing and dataset.categories[label].name.casefold() != _BACKGROUND
    ]
    numbers, classes = connected_components(labels, things)
    return np.where(numbers > 0, np.append(classes, 0)[numbers - 1] * INSTANCES + numbers, -1)


def _object(mask: np.ndarray, is_crowd: bool) -> dict[str, Any]:
    """Box, area and run lengths of a mask."""
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    runs = masks_to_rle(torch.from_numpy(mask)[None]).to_coco()[0]
    return {
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": int(mask.sum()),
        "iscrowd": int(is_crowd),
        "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")},
    }
