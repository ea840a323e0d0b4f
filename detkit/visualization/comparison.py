"""Ground truth beside what was detected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from detkit.ops import rle_to_masks
from detkit.structures import Category, Detections, Target
from detkit.visualization.drawing import draw_detections
from detkit.visualization.grid import CELL, picture_row, title_row
from detkit.visualization.pictures import resize, to_picture, write_image


def save_comparison(
    path: str | Path,
    images: Sequence[np.ndarray | Tensor],
    targets: Sequence[Target],
    detections: Sequence[Detections],
    categories: Sequence[Category],
    score_threshold: float = 0.5,
) -> None:
    """Write one picture with the ground truth of each image at the left of what was detected.

    Args:
        path: the image file to write.
        images: as for `draw_detections`, of any sizes.
        targets: the ground truth of each image, in its pixels.
        detections: what was detected in each image, in its pixels.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn.
    """
    cells = []
    for image, target, found in zip(images, targets, detections, strict=True):
        picture = to_picture(image)
        scale = CELL / max(picture.shape[:2])
        enlarged = resize(picture, scale)
        for objects in (target, found):
            cells.append(draw_detections(enlarged, _scaled(objects, scale, enlarged), categories, score_threshold))
    columns = 2 if len(cells) <= 6 else 4
    titles = ["Ground truth", f"Detections, score ≥ {score_threshold:g}"] * (columns // 2)
    rows = [title_row(titles)]
    rows += [picture_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    write_image(path, np.concatenate(rows, axis=0))


def _scaled(objects: Detections | Target, scale: float, picture: np.ndarray) -> Detections | Target:
    """The objects in pixels of an image that was resized by `scale` to become `picture`."""
    objects = objects.to("cpu")
    masks, keypoints = objects.masks, objects.keypoints
    if masks is not None:
        size = picture.shape[:2]
        pixels = rle_to_masks(masks)[None].float()
        masks = torch.nn.functional.interpolate(pixels, size=size)[0] > 0.5 if len(masks) else None
    if keypoints is not None:
        keypoints = keypoints * torch.tensor([scale, scale, 1.0])
    return replace(objects, boxes=objects.boxes * scale, masks=masks, keypoints=keypoints)
