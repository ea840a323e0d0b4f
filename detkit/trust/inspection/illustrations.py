"""Images for the page: some of each split with their objects, those with a fault, and pairs of duplicates."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np
import torch

from detkit.data.faults.problem import Problem
from detkit.data.faults.written_split import WrittenSplit
from detkit.data.spread import evenly_spread
from detkit.errors import InputError
from detkit.files import named_file
from detkit.images import read_image
from detkit.reporting import StripImage
from detkit.structures import Category, Target
from detkit.trust.inspection.duplicates import Pair
from detkit.visualization import draw_answer

_GRID = 64
_MARGIN = 1.0  # of an object in its cut, in sides


def sample_images(split: WrittenSplit, count: int) -> list[list[StripImage]]:
    """Images spread evenly over a split, with all their objects."""
    rows = evenly_spread(len(split), count)
    drawn = [_drawn(split, row, np.flatnonzero(split.image_rows == row)) for row in rows]
    return [[StripImage(split.file_names[row], one)] for row, one in zip(rows, drawn, strict=True) if one is not None]


def faulty_objects(split: WrittenSplit, problem: Problem, count: int) -> Iterator[list[StripImage]]:
    """The first objects that have a fault, cut out with what is around them."""
    for example, objects in list(zip(problem.examples, problem.objects, strict=False))[:count]:
        rows = np.array(objects)
        image = _drawn(split, int(split.image_rows[rows[0]]), rows)
        if image is not None:
            yield [StripImage(example, _cut(image, split.boxes[rows]))]


def duplicate_images(pairs: Sequence[Pair], splits: Sequence[WrittenSplit]) -> Iterator[list[StripImage]]:
    """Both images of each pair."""
    for pair in pairs:
        files = (pair.first, pair.second)
        try:
            images = [read_image(file.path) for file in files]
        except InputError:
            continue  # removed since it was decoded
        names = [f"{splits[file.split].name}: {splits[file.split].file_names[file.row]}" for file in files]
        yield [StripImage(name, image) for name, image in zip(names, images, strict=True)]


def center_map(split: WrittenSplit) -> np.ndarray | None:
    """Where the centers of boxes are in their images, uint8 ``(H, W, 3)``; None without boxes in known images."""
    known = np.flatnonzero(split.object_sizes.all(axis=1) & ~split.iscrowd)
    if not len(known):
        return None
    centers = (split.boxes[known, :2] + split.boxes[known, 2:] / 2) / split.object_sizes[known, ::-1]
    counts, _, _ = np.histogram2d(centers[:, 1], centers[:, 0], bins=_GRID, range=[[0, 1], [0, 1]])
    smooth = cv2.GaussianBlur(counts.astype(np.float32), (0, 0), 1.5)
    levels = (255 * smooth / max(float(smooth.max()), 1e-9)).astype(np.uint8)
    large = cv2.resize(levels, None, fx=4, fy=4, interpolation=cv2.INTER_LINEAR)
    colored: np.ndarray = cv2.cvtColor(cv2.applyColorMap(large, cv2.COLORMAP_VIRIDIS), cv2.COLOR_BGR2RGB)
    return colored


def _drawn(split: WrittenSplit, image_row: int, objects: np.ndarray) -> np.ndarray | None:
    """An image with some of its objects; None where it cannot be read."""
    if split.images_path is None:
        return None
    try:
        image = read_image(named_file(split.images_path, split.file_names[image_row]))
    except InputError:
        return None  # a problem of its own
    label = None if split.image_labels is None else int(split.image_labels[image_row])
    sides = split.boxes[objects, 2:].clip(1)  # boxes without area are to be seen too
    corners = np.concatenate([split.boxes[objects, :2], split.boxes[objects, :2] + sides], axis=1)
    target = Target(
        boxes=torch.from_numpy(corners.astype(np.float32)),
        labels=torch.from_numpy(split.labels[objects]),
        iscrowd=torch.from_numpy(split.iscrowd[objects]),
        image_label=label if label is not None and label >= 0 else None,
    )
    return draw_answer(image, target, [Category(k + 1, name) for k, name in enumerate(split.classes)])


def _cut(image: np.ndarray, boxes: np.ndarray) -> np.ndarray:
    """The part of an image around some boxes ``(n, 4)`` x y width height; all of it where none is within."""
    margin = np.maximum(_MARGIN * boxes[:, 2:].max(), 32)
    low = np.floor(boxes[:, :2].min(axis=0) - margin).clip(0).astype(int)
    high = np.ceil((boxes[:, :2] + boxes[:, 2:]).max(axis=0) + margin).clip(0).astype(int)
    part = image[low[1] : high[1], low[0] : high[0]]
    return part if part.size else image
