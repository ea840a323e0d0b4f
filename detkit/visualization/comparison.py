"""Ground truth beside what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from torch import Tensor

from detkit.geometry import Placement
from detkit.structures import Category, Classification, Detections, Target
from detkit.visualization.drawing import draw_answer
from detkit.visualization.grid import CELL, picture_row, title_row
from detkit.visualization.pictures import resize, to_picture, write_image


def save_comparison(
    path: str | Path,
    images: Sequence[np.ndarray | Tensor],
    targets: Sequence[Target],
    answers: Sequence[Detections | Classification],
    categories: Sequence[Category],
    score_threshold: float = 0.5,
) -> None:
    """Write one picture with the ground truth of each image at the left of what was detected.

    Args:
        path: the image file to write.
        images: as for `draw_detections`, of any sizes.
        targets: the ground truth of each image, in its pixels.
        answers: what was detected in each image, in its pixels, or its classes.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn.
    """
    cells = []
    for image, target, found in zip(images, targets, answers, strict=True):
        picture = to_picture(image)
        scale = CELL / max(picture.shape[:2])
        enlarged = resize(picture, scale)
        for objects in (target, found):
            cells.append(draw_answer(enlarged, _scaled(objects, picture, enlarged), categories, score_threshold))
    columns = 2 if len(cells) <= 6 else 4
    classified = any(isinstance(found, Classification) for found in answers)
    title = "Classes" if classified else f"Detections, score ≥ {score_threshold:g}"
    titles = ["Ground truth", title] * (columns // 2)
    rows = [title_row(titles)]
    rows += [picture_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    write_image(path, np.concatenate(rows, axis=0))


def _scaled(
    objects: Detections | Classification | Target, given: np.ndarray, enlarged: np.ndarray
) -> Detections | Classification | Target:
    """The objects in pixels of the picture `enlarged` that `given` was resized to."""
    (given_height, given_width), (height, width) = given.shape[:2], enlarged.shape[:2]
    return objects.to("cpu").moved(Placement.resize((given_height, given_width), (height, width)))
