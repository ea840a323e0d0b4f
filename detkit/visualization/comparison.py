"""Ground truth beside what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.ops import rle_to_masks
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
            cells.append(draw_answer(enlarged, _scaled(objects, scale, enlarged), categories, score_threshold))
    columns = 2 if len(cells) <= 6 else 4
    classified = any(isinstance(found, Classification) for found in answers)
    title = "Classes" if classified else f"Detections, score ≥ {score_threshold:g}"
    titles = ["Ground truth", title] * (columns // 2)
    rows = [title_row(titles)]
    rows += [picture_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    write_image(path, np.concatenate(rows, axis=0))


def _scaled(
    objects: Detections | Classification | Target, scale: float, picture: np.ndarray
) -> Detections | Classification | Target:
    """The objects in pixels of an image that was resized by `scale` to become `picture`."""
    objects = objects.to("cpu")
    if isinstance(objects, Classification):
        return objects
    masks, keypoints = objects.masks, objects.keypoints
    if masks is not None:
        size = picture.shape[:2]
        pixels = rle_to_masks(masks)[None].float()
        masks = torch.nn.functional.interpolate(pixels, size=size)[0] > 0.5 if len(masks) else None
    if keypoints is not None:
        keypoints = keypoints * torch.tensor([scale, scale, 1.0])
    return replace(objects, boxes=objects.boxes * scale, masks=masks, keypoints=keypoints)
