"""Boxes that were written in another format than they are read in: fractions, corners, swapped axes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detkit.data.image_dataset import ImageDataset
from detkit.files import read_json

_LEAST_BOXES = 10  # of fewer a statistic says nothing
_LEAST_SIDE = 32  # of an image in pixels: within a smaller one, a box of a pixel may be right
_OUTSIDE = 1.0  # pixels that a box may reach out of its image


@dataclass(frozen=True, eq=False)
class WrittenBoxes:
    """All boxes as they were written, crowds included.

    Args:
        boxes: ``(m, 4)`` float64 ``x y width height``.
        sizes: ``(m, 2)`` width and height of the image of each; 0 where they are not stated.
        keys: of each box, its image and class.
    """

    boxes: np.ndarray
    sizes: np.ndarray
    keys: list[Any]

    @classmethod
    def of(cls, dataset: ImageDataset) -> WrittenBoxes:
        """Those of a data set, of a COCO file before they are clipped to the image."""
        truth = dataset.ground_truth()
        content: dict[str, Any] = read_json(truth) if isinstance(truth, (str, Path)) else truth
        sizes = {one["id"]: (one.get("width") or 0, one.get("height") or 0) for one in content["images"]}
        entries = [one for one in content["annotations"] if _is_box(one.get("bbox"))]
        boxes = np.array([one["bbox"] for one in entries], dtype=np.float64).reshape(-1, 4)
        of_image = np.array([sizes.get(one["image_id"], (0, 0)) for one in entries], dtype=np.float64).reshape(-1, 2)
        return cls(boxes, of_image, [(one["image_id"], one.get("category_id")) for one in entries])

    def outside(self, boxes: np.ndarray) -> np.ndarray:
        """Which of `boxes` reach out of their images, bool ``(m,)``."""
        reach = (boxes[:, :2] + boxes[:, 2:] > self.sizes + _OUTSIDE) | (boxes[:, :2] < -_OUTSIDE)
        outside: np.ndarray = reach.any(axis=1)
        return outside


def suspicious_boxes(dataset: ImageDataset) -> list[str]:
    """A sentence for each sign that boxes are in another format than they are read in."""
    written, source = WrittenBoxes.of(dataset), dataset.annotations_path
    sentences = [_fractions, _corners, _swapped, _whole_images]
    found: list[str] = []
    known = np.flatnonzero(written.sizes.min(axis=1, initial=1))
    written = WrittenBoxes(written.boxes[known], written.sizes[known], [written.keys[row] for row in known.tolist()])
    if len(written.boxes) >= _LEAST_BOXES:
        found = [f"{source}: {sentence}" for check in sentences if (sentence := check(written))][:1]
    if sentence := _repeated(written):
        found.append(f"{source}: {sentence}")
    return found


def _fractions(written: WrittenBoxes) -> str | None:
    if written.sizes.min() < _LEAST_SIDE or np.abs(written.boxes).max() > 1.5:
        return None
    return (
        f"all {len(written.boxes)} boxes lie within a pixel of the upper left corner: they look like fractions of the "
        "image (normalized) that are read as pixels; multiply x and widths by the width of the image, y and heights by "
        "its height"
    )


def _corners(written: WrittenBoxes) -> str | None:
    """Corners ``x1 y1 x2 y2`` in place of ``x y width height``: as corners they all fit, as sizes they do not."""
    boxes, outside = written.boxes, written.outside(written.boxes)
    are_corners = (boxes[:, 2:] > boxes[:, :2]).all() and (boxes[:, 2:] <= written.sizes + _OUTSIDE).all()
    if not are_corners or outside.mean() < 0.1:
        return None
    return (
        f"{outside.sum()} of {len(boxes)} boxes reach out of their image, but none would if their numbers were corners "
        "x1 y1 x2 y2: they are read as x y width height; write x2 - x1 and y2 - y1 in place of x2 and y2"
    )


def _swapped(written: WrittenBoxes) -> str | None:
    """``y x height width`` in place of ``x y width height``, seen in images that are not square."""
    outside = written.outside(written.boxes)
    swapped = written.outside(written.boxes[:, [1, 0, 3, 2]])
    if outside.mean() < 0.02 or swapped.sum() > 0.1 * outside.sum():
        return None
    return (
        f"{outside.sum()} of {len(outside)} boxes reach out of their image, but {swapped.sum() or 'none'} would with x "
        "and y exchanged: the axes look swapped, or the height and width of the images are; exchange them in the "
        "annotations"
    )


def _whole_images(written: WrittenBoxes) -> str | None:
    covers = np.count_nonzero((written.boxes[:, 2:] >= 0.98 * written.sizes).all(axis=1))
    if covers < 0.95 * len(written.boxes):
        return None
    return (
        f"{covers} of {len(written.boxes)} boxes cover their whole image: there is nothing to locate, train a "
        "classifier, or correct the boxes"
    )


def _repeated(written: WrittenBoxes) -> str | None:
    rows = [(*key, *box) for key, box in zip(written.keys, written.boxes.tolist(), strict=True)]
    repeated = len(rows) - len(set(rows))
    if not repeated:
        return None
    seen: set[Any] = set()
    first = next(row for row in rows if row in seen or seen.add(row))  # type: ignore[func-returns-value]
    what = "1 object is annotated twice" if repeated == 1 else f"{repeated} objects are annotated twice"
    box = ", ".join(f"{value:g}" for value in first[2:])
    return (
        f"{what}, with the same box and class (first: image {first[0]!r}, x y width height {box}): a detector finds it "
        "once, so that the copies count as missed; remove them"
    )


def _is_box(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and len(value) == 4 and all(isinstance(one, (int, float)) for one in value)
