"""Boxes that were written in another format than they are read in: fractions, corners, swapped axes."""

from __future__ import annotations

import numpy as np

from detkit.data.faults.problem import Sign
from detkit.data.faults.written_split import WrittenSplit
from detkit.data.image_dataset import ImageDataset

_LEAST_BOXES = 10  # of fewer a statistic says nothing
_LEAST_SIDE = 32  # of an image in pixels: within a smaller one, a box of a pixel may be right
_OUTSIDE = 1.0  # pixels that a box may reach out of its image


def suspicious_boxes(dataset: ImageDataset) -> list[str]:
    """A sentence for each sign that boxes are in another format than they are read in, or are there twice."""
    written = WrittenSplit.of(dataset)
    repeated = repeated_objects(written)
    sentences = [wrong_format(written), _repeated(written, repeated) if len(repeated) else None]
    return [f"{dataset.annotations_path}: {sentence}" for sentence in sentences if sentence]


def wrong_format(written: WrittenSplit) -> Sign | None:
    """The first sign that all boxes are in another format; None without one."""
    known = written.select(np.flatnonzero(written.object_sizes.all(axis=1)))
    if len(known.boxes) < _LEAST_BOXES:
        return None
    found = (check(known) for check in (_fractions, _corners, _swapped, _whole_images))
    return next((sign for sign in found if sign is not None), None)


def repeated_objects(written: WrittenSplit) -> np.ndarray:
    """int64 the positions of objects that repeat one before them: the same image, class and box; no crowds."""
    rows = np.flatnonzero(~written.iscrowd)
    keys = np.concatenate(
        [written.image_rows[rows, None], written.labels[rows, None], written.boxes[rows]], axis=1, dtype=np.float64
    )
    _, first = np.unique(keys, axis=0, return_index=True)
    repeated: np.ndarray = np.delete(rows, first)
    return repeated


def outside(written: WrittenSplit, boxes: np.ndarray) -> np.ndarray:
    """Which of `boxes` ``(m, 4)``, in place of those of the objects, reach out of their images, bool ``(m,)``."""
    limits = written.object_sizes[:, ::-1] + _OUTSIDE
    reach = (boxes[:, :2] + boxes[:, 2:] > limits) | (boxes[:, :2] < -_OUTSIDE)
    is_outside: np.ndarray = reach.any(axis=1)
    return is_outside


def _fractions(written: WrittenSplit) -> Sign | None:
    if written.object_sizes.min() < _LEAST_SIDE or np.abs(written.boxes).max() > 1.5:
        return None
    return Sign(
        f"all {len(written.boxes)} boxes lie within a pixel of the upper left corner: they look like fractions of the "
        "image (normalized) that are read as pixels",
        "multiply x and widths by the width of the image, y and heights by its height",
    )


def _corners(written: WrittenSplit) -> Sign | None:
    """Corners ``x1 y1 x2 y2`` in place of ``x y width height``: as corners they all fit, as sizes they do not."""
    boxes, reach = written.boxes, outside(written, written.boxes)
    are_corners = (boxes[:, 2:] > boxes[:, :2]).all() and (
        boxes[:, 2:] <= written.object_sizes[:, ::-1] + _OUTSIDE
    ).all()
    if not are_corners or reach.mean() < 0.1:
        return None
    return Sign(
        f"{reach.sum()} of {len(boxes)} boxes reach out of their image, but none would if their numbers were corners "
        "x1 y1 x2 y2: they are read as x y width height",
        "write x2 - x1 and y2 - y1 in place of x2 and y2",
    )


def _swapped(written: WrittenSplit) -> Sign | None:
    """``y x height width`` in place of ``x y width height``, seen in images that are not square."""
    reach = outside(written, written.boxes)
    swapped = outside(written, written.boxes[:, [1, 0, 3, 2]])
    if reach.mean() < 0.02 or swapped.sum() > 0.1 * reach.sum():
        return None
    return Sign(
        f"{reach.sum()} of {len(reach)} boxes reach out of their image, but {swapped.sum() or 'none'} would with x "
        "and y swapped: the axes look swapped, or the height and width of the images are",
        "swap them in the annotations",
    )


def _whole_images(written: WrittenSplit) -> Sign | None:
    covers = np.count_nonzero((written.boxes[:, 2:] >= 0.98 * written.object_sizes[:, ::-1]).all(axis=1))
    if covers < 0.95 * len(written.boxes):
        return None
    return Sign(
        f"{covers} of {len(written.boxes)} boxes cover their whole image: there is nothing to locate",
        "train a classifier, or correct the boxes",
    )


def _repeated(written: WrittenSplit, repeated: np.ndarray) -> str:
    what = "1 object is annotated twice" if len(repeated) == 1 else f"{len(repeated)} objects are annotated twice"
    first = int(repeated[0])
    image_id = written.image_ids[written.image_rows[first]]
    return (
        f"{what}, with the same box and class (first: image {image_id!r}, {written.box_text(first)}): a detector finds "
        "it once, so that the copies count as missed; remove them"
    )
