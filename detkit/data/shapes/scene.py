"""Draw one image of the `Shapes` data set with its annotations.

An image is a pure function of its random generator: a gradient, striped or cloudy background, up to a few shapes of any
rotation drawn over each other with antialiased edges, blur and noise. Boxes, areas and masks are those of the *visible*
part, as a person would annotate it; sometimes a swarm of tiny shapes is annotated as one crowd region.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from detkit.data.shapes.backgrounds import plain_background, regions_background
from detkit.data.shapes.options import KEYPOINT_NAMES, SHAPE_NAMES, ShapesOptions
from detkit.data.shapes.outlines import coverage_of, keypoints_of, outline_of
from detkit.ops import masks_to_rle, polygons_to_rle, rle_to_masks


def draw_image(random: np.random.Generator, options: ShapesOptions) -> tuple[np.ndarray, list[dict]]:
    """Draw one image, uint8 RGB ``(H, W, 3)``, and its annotations in COCO's form without ids."""
    scene = draw_scene(random, options)
    return scene.image, scene.objects


@dataclass(frozen=True)
class Scene:
    """A drawn image with its annotations.

    Args:
        image: uint8 RGB ``(H, W, 3)``.
        objects: in COCO's form without ids, from back to front.
        visible: of each object its visible pixels, bool ``(H, W)``.
        stuff: ``(H, W)``, at each pixel the number of the stuff class that is there or behind an object.
    """

    image: np.ndarray
    objects: list[dict]
    visible: list[np.ndarray]
    stuff: np.ndarray


def draw_scene(random: np.random.Generator, options: ShapesOptions) -> Scene:
    """As `draw_image`, with the pixels of everything."""
    height, width = (int(side) for side in random.integers(options.image_size[0], options.image_size[1] + 1, 2))
    if len(options.stuff) > 1:
        image, bases, stuff = regions_background(random, height, width, len(options.stuff))
    else:
        image, base = plain_background(random, height, width)
        bases, stuff = base[None], np.zeros((height, width), dtype=np.int64)
    stack = _arrange(random, height, width, options)
    colors: list[np.ndarray] = []
    for shape in stack:
        colors.append(contrasting_color(random, bases, colors, options.contrast))
        shade = 1 + random.uniform(-0.15, 0.15) * np.linspace(-1, 1, width, dtype=np.float32)[None, :, None]
        x, y, w, h = cv2.boundingRect((shape.alpha > 0).view(np.uint8))
        alpha = shape.alpha[y : y + h, x : x + w, None]
        covered = image[y : y + h, x : x + w]
        covered += (colors[-1] * shade[:, x : x + w] - covered) * alpha
    if random.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 0.8))
    image += random.standard_normal(image.shape, dtype=np.float32) * random.uniform(0, options.noise)
    image = np.clip(image, 0, 255).round().astype(np.uint8)
    objects = [_annotation(shape, bool(options.stuff)) for shape in stack]
    return Scene(image, objects, [shape.visible for shape in stack], stuff)


@dataclass
class _Shape:
    """A shape on the canvas: coverage 0..1 ``(H, W)``, visible pixels, and its geometry in continuous pixels."""

    label: int
    alpha: np.ndarray
    solid: np.ndarray
    outline: np.ndarray | None
    keypoints: np.ndarray
    iscrowd: bool = False

    def __post_init__(self) -> None:
        self.visible = self.solid
        self.area = int(self.solid.sum())


def _arrange(random: np.random.Generator, height: int, width: int, options: ShapesOptions) -> list[_Shape]:
    """Shapes from back to front; one that would hide more than half of another is redrawn or given up."""
    stack: list[_Shape] = []
    for _ in range(int(random.integers(1, options.max_objects + 1))):
        for _ in range(8):
            shape = _random_shape(random, height, width, options)
            if _put_on_top(stack, shape):
                break
    if random.random() < options.crowd_probability:
        _put_on_top(stack, _swarm(random, height, width, options))
    return stack


def _put_on_top(stack: list[_Shape], shape: _Shape) -> bool:
    remains = [below.visible & ~shape.solid for below in stack]
    enough = (left.sum() >= max(0.5 * below.area, 12) for left, below in zip(remains, stack, strict=True))
    if shape.area < 12 or not all(enough):
        return False
    for below, left in zip(stack, remains, strict=True):
        below.visible = left
    stack.append(shape)
    return True


def _random_shape(random: np.random.Generator, height: int, width: int, options: ShapesOptions) -> _Shape:
    smallest = options.min_object_size
    largest = min(height, width) / 2
    radius = smallest * (largest / smallest) ** (random.random() ** 0.5) / 2
    center = random.uniform(0, 1, 2) * (width, height)
    center = np.clip(center, 0.4 * radius, np.array([width, height]) - 0.4 * radius)
    label = _random_label(random, options)
    return _shape(random, label, center, radius, height, width)


def _random_label(random: np.random.Generator, options: ShapesOptions) -> int:
    return SHAPE_NAMES.index(options.names[int(random.integers(len(options.names)))])


def _shape(
    random: np.random.Generator, label: int, center: np.ndarray, radius: float, height: int, width: int
) -> _Shape:
    outline, hole = outline_of(random, SHAPE_NAMES[label])
    angle = random.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    outline = outline @ rotation * radius + center
    alpha = coverage_of(outline, height, width)
    if hole is not None:
        alpha = alpha * (1 - coverage_of(hole @ rotation * radius + center, height, width))
    return _Shape(
        label, alpha, alpha >= 0.5, outline if hole is None else None, keypoints_of(outline, center, height, width)
    )


def _swarm(random: np.random.Generator, height: int, width: int, options: ShapesOptions) -> _Shape:
    """Many tiny shapes of one kind, annotated as one crowd region."""
    label = _random_label(random, options)
    spread = min(height, width) * random.uniform(0.08, 0.15)
    center = random.uniform(0.2, 0.8, 2) * (width, height)
    alpha = np.zeros((height, width), dtype=np.float32)
    for point in center + random.uniform(-spread, spread, (int(random.integers(8, 16)), 2)):
        tiny = _shape(random, label, point, random.uniform(2.0, 3.5), height, width)
        alpha = np.maximum(alpha, tiny.alpha)
    return _Shape(label, alpha, alpha >= 0.5, None, np.zeros((len(KEYPOINT_NAMES), 3)), iscrowd=True)


def contrasting_color(
    random: np.random.Generator, bases: np.ndarray, others: list[np.ndarray], contrast: float, darkest: float = 0.0
) -> np.ndarray:
    """A color far from the background's, and half as far from the other shapes'; the best of twenty otherwise."""
    candidates = random.uniform(darkest, 255, (20, 3))
    distances = np.min([np.linalg.norm(candidates - base, axis=1) for base in bases], axis=0)
    for other in others:
        distances = np.minimum(distances, 2 * np.linalg.norm(candidates - other, axis=1))
    good = np.flatnonzero(distances >= contrast)
    return candidates[good[0] if len(good) else distances.argmax()].astype(np.float32)


def _annotation(shape: _Shape, exact: bool) -> dict:
    """The annotation of a shape; `exact`: with run lengths of its pixels also where it is a polygon."""
    height, width = shape.solid.shape
    segmentation: Any
    if shape.outline is not None and not exact and _is_whole(shape, shape.outline):
        segmentation = [shape.outline.round(2).ravel().tolist()]
        mask = rle_to_masks(polygons_to_rle([segmentation], height, width))[0].numpy()
    else:
        mask = shape.visible
        encoded = masks_to_rle(torch.from_numpy(np.ascontiguousarray(mask))[None]).to_coco()[0]
        segmentation = {"size": [height, width], "counts": encoded["counts"].decode()}
    columns, rows = np.flatnonzero(mask.any(axis=0)), np.flatnonzero(mask.any(axis=1))
    x, y = int(columns[0]), int(rows[0])
    keypoints = _visibility(shape)
    return {
        "category_id": shape.label + 1,
        "bbox": [x, y, int(columns[-1]) + 1 - x, int(rows[-1]) + 1 - y],
        "area": int(mask.sum()),
        "iscrowd": int(shape.iscrowd),
        "segmentation": segmentation,
        "keypoints": keypoints.round(2).ravel().tolist(),
        "num_keypoints": int((keypoints[:, 2] > 0).sum()),
    }


def _is_whole(shape: _Shape, outline: np.ndarray) -> bool:
    """Whether its outline is its mask: nothing hidden, nothing outside the image."""
    if not np.array_equal(shape.visible, shape.solid):
        return False
    height, width = shape.solid.shape
    return bool((outline >= 0).all() and (outline <= (width, height)).all())


def _visibility(shape: _Shape) -> np.ndarray:
    """Keypoints with visibility 1 where another shape hides them, 0 where the shape has no such point."""
    keypoints = shape.keypoints.copy()
    for position, point in enumerate(keypoints):
        # An extreme corner is thinner than a pixel, so its surroundings decide; a center is itself in or out.
        reach = 0 if position == 0 else 2
        x, y = (int(coordinate) for coordinate in point[:2])
        around = np.s_[max(y - reach, 0) : y + reach + 1, max(x - reach, 0) : x + reach + 1]
        if not shape.solid[around].any():
            point[:] = 0
        elif point[2] and not shape.visible[around].any():
            point[2] = 1
    return keypoints
