"""The widths and heights of a data set's boxes, as the network of a recipe sees them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.data.formats.coco_annotations import pack_annotations, read_annotations
from detkit.data.formats.open_dataset import open_split
from detkit.data.packed.packed_annotations import PackedAnnotations
from detkit.errors import InputError
from detkit.files.annotation_formats import Format
from detkit.preprocess import Preprocess


def read_boxes(root: Path, split: str, format: Format | None) -> PackedAnnotations:
    """The annotations of a COCO file, or of a split of a folder in any format.

    Raises:
        InputError: there are none, or they are wrong.
    """
    if root.suffix == ".json":
        return read_coco_boxes(root)
    truth = open_split(root, split, format, on_bad_box="skip").ground_truth()
    if isinstance(truth, dict):
        return pack_annotations(truth, root, _unknown_size, on_bad_box="skip")
    return read_coco_boxes(truth)


def read_coco_boxes(path: Path) -> PackedAnnotations:
    """The annotations of a COCO file.

    Raises:
        InputError: it is none, or does not state the sizes of its images.
    """
    return read_annotations(path, _unknown_size, on_bad_box="skip")


def network_shapes(packed: PackedAnnotations, preprocess: Preprocess) -> Tensor:
    """Width and height ``(N, 2)`` of all objects, crowds left out, in pixels of the network's input.

    Raises:
        InputError: there are no objects.
    """
    if packed.iscrowd.all():
        raise InputError("the annotations have no boxes, to which anchors could be fitted")
    sizes, of_image = np.unique(packed.image_sizes, axis=0, return_inverse=True)
    placements = [preprocess.place((int(height), int(width))) for height, width in sizes]
    scales = np.array([(one.matrix[0][0], one.matrix[1][1]) for one in placements])
    image = np.repeat(of_image.reshape(-1), np.diff(packed.offsets))
    shapes = (packed.boxes[:, 2:] - packed.boxes[:, :2]) * scales[image]
    return torch.from_numpy(shapes[~packed.iscrowd].astype(np.float32))


def _unknown_size(file_name: str) -> tuple[int, int]:
    raise InputError(f"the annotation file does not state width and height of {file_name}: add them")
