"""Cell nuclei, drawn in the layout of the real ones: images in one folder, a mask for each nucleus."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from detkit.ops import masks_to_rle

COUNTS = {"train": 8, "val": 4}


def draw_nuclei(root: Path, counts: dict[str, int] = COUNTS, size: tuple[int, int] = (64, 80), seed: int = 0) -> Path:
    """Bright discs on a dark ground, each split in ``annotations/instances_SPLIT.json``; in each image two touch."""
    random = np.random.default_rng(seed)
    (root / "images").mkdir(parents=True)
    (root / "annotations").mkdir()
    for split, count in counts.items():
        images, annotations = [], []
        for number in range(1, count + 1):
            name = f"{split}{number:03d}.png"
            masks = _masks(random, size)
            light = np.full(size, 20.0)
            for mask in masks:
                light[mask] = random.uniform(120, 220)
            light = cv2.GaussianBlur(light, (3, 3), 0) + random.normal(0, 6, size)
            cv2.imwrite(str(root / "images" / name), np.clip(light, 0, 255).astype(np.uint8)[..., None].repeat(3, -1))
            images.append({"id": number, "file_name": name, "height": size[0], "width": size[1]})
            annotations += [_annotation(mask, number) for mask in masks]
        for identity, one in enumerate(annotations, start=1):
            one["id"] = identity
        content = {
            "images": images,
            "annotations": annotations,
            "categories": [{"id": 1, "name": "nucleus", "supercategory": "cell"}],
        }
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


def _masks(random: np.random.Generator, size: tuple[int, int]) -> list[np.ndarray]:
    """Discs that do not overlap: two that touch, and more where there is room."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    radius, y, x = random.uniform(7, 9), *(random.uniform(12, side - 34) for side in size)
    discs = [(y, x, radius), (y, x + 2 * radius - 1, radius)]
    for _ in range(40):
        y, x, radius = random.uniform(4, size[0] - 4), random.uniform(4, size[1] - 4), random.uniform(4, 8)
        if all(np.hypot(y - other[0], x - other[1]) > radius + other[2] + 2 for other in discs):
            discs.append((y, x, radius))
    masks = [(rows - y) ** 2 + (columns - x) ** 2 < radius**2 for y, x, radius in discs]
    masks[1] &= ~masks[0]
    return masks


def _annotation(mask: np.ndarray, image_id: int) -> dict[str, Any]:
    rows, columns = np.nonzero(mask)
    (runs,) = masks_to_rle(torch.from_numpy(mask)[None]).to_coco()
    x, y = int(columns.min()), int(rows.min())
    return {
        "image_id": image_id,
        "category_id": 1,
        "bbox": [x, y, int(columns.max()) + 1 - x, int(rows.max()) + 1 - y],
        "area": int(mask.sum()),
        "iscrowd": 0,
        "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode("ascii")},
    }
