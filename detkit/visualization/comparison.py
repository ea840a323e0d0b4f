"""Ground truth beside what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from detkit.structures import Category, Detections, Target
from detkit.visualization.drawing_by_type import Drawing
from detkit.visualization.grid import CELL, picture_row, title_row
from detkit.visualization.image_files import resize, to_picture, write_image


def save_comparison(
    path: str | Path,
    images: Sequence[np.ndarray | Tensor],
    targets: Sequence[Target],
    answers: Sequence[Any],
    categories: Sequence[Category],
    score_threshold: float = 0.5,
    drawing: Drawing | None = None,
) -> None:
    """Write one picture with the ground truth of each image at the left of what was detected.

    Args:
        path: the image file to write.
        images: as for `draw_detections`, of any sizes.
        targets: the ground truth of each image, in its pixels.
        answers: what was detected in each image, in its pixels, or its classes.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn.
        drawing: how the answers look, such as their `detkit.tasks.Task`; default: as `draw_answer` has it.
    """
    drawing = drawing or Drawing()
    cells = []
    for image, target, found in zip(images, targets, answers, strict=True):
        picture = to_picture(image)
        enlarged = resize(picture, CELL / max(picture.shape[:2]))
        sizes = picture.shape[:2], enlarged.shape[:2]
        cells.append(drawing.draw_truth(enlarged, drawing.resized(target.to("cpu"), *sizes), categories))
        answer = drawing.resized(found.to("cpu"), *sizes)
        cells.append(drawing.draw(enlarged, answer, categories, score_threshold))
    columns = 2 if len(cells) <= 6 else 4
    title = drawing.title(answers[0] if answers else Detections.empty(), score_threshold)
    titles = ["Ground truth", title] * (columns // 2)
    rows = [title_row(titles)]
    rows += [picture_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    write_image(path, np.concatenate(rows, axis=0))
