"""Two fixed images of colored rectangles on noise, of different sizes and aspect ratios, and what is on them."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from detkit.structures import Target

COLORS = ((220, 40, 40), (40, 200, 60), (50, 70, 230))  # of the labels

# (height, width), and the label and x1 y1 x2 y2 of each object
PICTURES = (
    ((72, 104), ((0, (8, 10, 40, 46)), (1, (56, 26, 96, 64)), (2, (44, 4, 66, 22)))),
    ((112, 76), ((1, (6, 8, 38, 34)), (2, (20, 50, 64, 100)), (0, (48, 12, 70, 40)))),
)


def images() -> list[Tensor]:
    """The images, ``(3, H, W)`` uint8."""
    drawn = []
    for seed, ((height, width), objects) in enumerate(PICTURES):
        # RandomState's stream is the same in all versions of numpy.
        pixels = np.random.RandomState(seed).randint(90, 150, (height, width, 3)).astype(np.uint8)
        for label, (x1, y1, x2, y2) in objects:
            noise = pixels[y1:y2, x1:x2] // 8
            pixels[y1:y2, x1:x2] = np.array(COLORS[label], np.uint8) + noise
        drawn.append(torch.from_numpy(pixels).permute(2, 0, 1))
    return drawn


def targets() -> list[Target]:
    """Boxes, labels, masks and two keypoints of each object: an upper left and a lower right point within it."""
    result = []
    for (height, width), objects in PICTURES:
        boxes = torch.tensor([box for _, box in objects], dtype=torch.float32)
        labels = torch.tensor([label for label, _ in objects])
        masks = torch.zeros(len(objects), height, width, dtype=torch.bool)
        for mask, (_, (x1, y1, x2, y2)) in zip(masks, objects, strict=True):
            mask[y1:y2, x1:x2] = True
        inner = (boxes[:, 2:] - boxes[:, :2]) / 4
        points = torch.stack((boxes[:, :2] + inner, boxes[:, 2:] - inner), dim=1)
        keypoints = torch.cat((points, torch.full((len(boxes), 2, 1), 2.0)), dim=2)
        result.append(Target(boxes, labels, masks, keypoints, image_label=int(labels[0])))
    return result
