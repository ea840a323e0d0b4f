"""Ground truth and predictions side by side."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from detkit.structures import Category, Detections, Target
from detkit.visualization.drawing_by_type import Drawing
from detkit.visualization.grid import CELL, image_row, title_row
from detkit.visualization.image_files import resize, to_image_array, write_image


def save_comparison(
    path: str | Path,
    images: Sequence[np.ndarray | Tensor],
    targets: Sequence[Target],
    answers: Sequence[Any],
    categories: Sequence[Category],
    score_threshold: float = 0.5,
    drawing: Drawing | None = None,
) -> None:
    """Write one image with the ground truth of each image to the left of its predictions.

    Args:
        path: the image file to write.
        images: as for `draw_detections`, of any sizes.
        targets: the ground truth of each image, in its pixels.
        answers: the detections or classes of each image, in its pixels.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn.
        drawing: draws the answers, such as their `detkit.tasks.Task`; default: `draw_answer`.
    """
    drawing = drawing or Drawing()
    cells = []
    for image, target, answer in zip(images, targets, answers, strict=True):
        pixels = to_image_array(image)
        enlarged = resize(pixels, CELL / max(pixels.shape[:2]))
        sizes = pixels.shape[:2], enlarged.shape[:2]
        cells.append(drawing.draw_truth(enlarged, drawing.resized(target.to("cpu"), *sizes), categories))
        resized = drawing.resized(answer.to("cpu"), *sizes)
        cells.append(drawing.draw(enlarged, resized, categories, score_threshold))
    columns = 2 if len(cells) <= 6 else 4
    title = drawing.title(answers[0] if answers else Detections.empty(), score_threshold)
    titles = ["Ground truth", title] * (columns // 2)
    rows = [title_row(titles)]
    rows += [image_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    write_image(path, np.concatenate(rows, axis=0))
