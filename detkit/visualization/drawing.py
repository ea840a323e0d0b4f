"""Draw detections, ground truth and class names into images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import singledispatch
from typing import Any

import numpy as np
from torch import Tensor

from detkit.deprecation import moved_names
from detkit.errors import InputError
from detkit.ops import rle_to_masks
from detkit.structures import Category, Classification, Detections, ObjectShape, PanopticMap, SemanticMap, Target
from detkit.visualization.colors import Color, class_color, instance_colors
from detkit.visualization.image_files import font_of_size, to_image_array
from detkit.visualization.labels import draw_labels, draw_legend, placed_labels, side_of, text_size, write_labels
from detkit.visualization.map_drawing import draw_label_map
from detkit.visualization.marks.object_marks import draw_box, draw_keypoints, draw_mask
from detkit.visualization.meshes.mesh_drawing import draw_shape
from detkit.visualization.meshes.object_meshes import draw_object_meshes
from detkit.visualization.panoptic_drawing import draw_panoptic_map

_CROWD: Color = (150, 150, 150)


def draw_detections(
    image: np.ndarray | Tensor,
    objects: Detections | Target,
    categories: Sequence[Category],
    score_threshold: float = 0.5,
) -> np.ndarray:
    """Draw boxes with their class and score, masks and keypoints into a copy of an image.

    A class has the same color in every image; masks of one class that lie side by side have variants of it. Where the
    camera is known, meshes with faces are drawn in place of their masks. Crowd and ignore regions of a `Target` are
    dashed and gray. No text covers another: where there is no place, only the score is written, or nothing, and a
    legend in a corner names the classes with their numbers of objects.

    Args:
        image: uint8 ``(H, W, 3)`` array, or ``(3, H, W)`` tensor, uint8 or float in [0, 1]; RGB.
        objects: detections or ground truth in pixels of that image.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn.

    Returns:
        The drawing, uint8 ``(H, W, 3)``.

    Raises:
        InputError: `image` is not an image, or a label has no category.
    """
    canvas = to_image_array(image)
    if objects.boxes is None:
        return canvas  # nothing is annotated that could be drawn
    objects = _in_drawing_order(objects.to("cpu"), score_threshold)
    boxes, labels = _boxes_and_labels(objects)
    _check_labels(labels, categories)
    crowds = _crowds(objects)
    colors = [_CROWD if crowd else class_color(label) for crowd, label in zip(crowds, labels, strict=True)]
    corners = _corners(boxes, canvas)
    width = _line_width(canvas, corners)
    if objects.masks is not None or objects.meshes is not None:
        tints = instance_colors(labels, corners)
        shades = [_CROWD if crowd else tint for crowd, tint in zip(crowds, tints, strict=True)]
        canvas, have_meshes = draw_object_meshes(canvas, objects, shades)
        masks = np.empty(0) if objects.masks is None else rle_to_masks(objects.masks).numpy()
        for mask, color, has_mesh in zip(masks, shades, have_meshes, strict=False):
            if not has_mesh:
                draw_mask(canvas, mask, color, width)
    for box, color, crowd in zip(corners, colors, crowds, strict=True):
        draw_box(canvas, box, color, width, dashed=crowd)
    if objects.keypoints is not None:
        for points, color in zip(objects.keypoints.numpy(), colors, strict=True):
            draw_keypoints(canvas, points, color, _thickness(canvas), visibilities=_scores(objects) is None)
    wordings = _wordings(objects, labels, categories, crowds)
    written = placed_labels(canvas, corners, wordings)
    drawn = write_labels(canvas, written, colors)
    if len(written) == len(labels) and all(one.text == wordings[0][one.index] for one in written):
        return drawn
    counts = Counter(labels).most_common()
    entries = [(f"{categories[label].name}: {count}", class_color(label)) for label, count in counts]
    return draw_legend(drawn, entries, corners, written)


def draw_answer(
    image: np.ndarray | Tensor, answer: Any, categories: Sequence[Category], score_threshold: float = 0.5
) -> np.ndarray:
    """Draw an answer of a model or the ground truth into a copy of an image.

    Args:
        image: as of `draw_detections`.
        answer: `Detections`, a `Classification`, `SemanticMap`, `PanopticMap`, `ObjectShape` or `Target`, in pixels of
            that image; a `Target` without objects shows the class of the image, if it has one, else its label map.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn; classes always are.

    Raises:
        InputError: `image` is not an image, a label has no category, or answers of this type are drawn by their task.
    """
    return _drawn(answer, image, categories, score_threshold)


@singledispatch
def _drawn(answer: Any, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    raise InputError(f"{type(answer).__name__} cannot be drawn without its task, whose `draw` does it; call that")


_drawn.register(ObjectShape, draw_shape)


@_drawn.register
def _(answer: Detections, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    return draw_detections(image, answer, categories, score_threshold)


@_drawn.register
def _(answer: Classification, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    return draw_classes(image, answer, categories)


@_drawn.register
def _(answer: SemanticMap, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    return draw_label_map(image, answer.label_map, categories)


@_drawn.register
def _(answer: PanopticMap, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    shown = answer.at_least(score_threshold)
    return draw_panoptic_map(image, shown.panoptic_map, categories, shown.scores.tolist())


@_drawn.register
def _(answer: Target, image: Any, categories: Any, score_threshold: float) -> np.ndarray:
    if not len(answer) and answer.image_label is not None:
        return draw_class(image, answer.image_label, categories)
    if not len(answer) and answer.label_map is not None:
        return draw_label_map(image, answer.label_map, categories)
    return draw_detections(image, answer, categories, score_threshold)


def draw_classes(image: np.ndarray | Tensor, classes: Classification, categories: Sequence[Category]) -> np.ndarray:
    """Write the classes of an image with their scores into a copy of it, best first, one below the other.

    Args:
        image: as of `draw_detections`.
        classes: of that image.
        categories: ``categories[k]`` names label ``k``; of several synonyms the first is written.

    Raises:
        InputError: `image` is not an image, or a label has no category.
    """
    labels = classes.labels.tolist()
    _check_labels(labels, categories)
    names = [_first_name(categories[label]) for label in labels]
    texts = [f"{name} {score:.2f}" for name, score in zip(names, classes.scores.tolist(), strict=True)]
    return _write_lines(to_image_array(image), texts, labels)


def draw_class(image: np.ndarray | Tensor, label: int, categories: Sequence[Category]) -> np.ndarray:
    """Write the true class of an image into a copy of it.

    Args:
        image: as of `draw_detections`.
        label: the class.
        categories: as of `draw_classes`.

    Raises:
        InputError: `image` is not an image, or the label has no category.
    """
    _check_labels([label], categories)
    return _write_lines(to_image_array(image), [_first_name(categories[label])], [label])


def _first_name(category: Category) -> str:
    return category.name.split(",")[0]


def _write_lines(canvas: np.ndarray, texts: list[str], labels: list[int]) -> np.ndarray:
    """Write texts from the top left corner on, one below the other, each in the color of its class; the last ones are
    left out where all would cover too much of the image."""
    line = sum(font_of_size(text_size(canvas)).getmetrics())
    corners = np.array([[0, line * row, 0, line * row] for row in range(1, len(labels) + 1)]).reshape(-1, 4)
    colors = [class_color(label) for label in labels]
    for count in range(len(labels), 0, -1):
        if (written := draw_labels(canvas, corners[:count], texts[:count], colors[:count])) is not canvas:
            return written
    return canvas


def _check_labels(labels: list[int], categories: Sequence[Category]) -> None:
    if labels and not 0 <= min(labels) <= max(labels) < len(categories):
        wrong = next(label for label in labels if not 0 <= label < len(categories))
        raise InputError(f"label {wrong} has no name among {len(categories)} categories; give the model's categories")


def _in_drawing_order(objects: Detections | Target, score_threshold: float) -> Detections | Target:
    """The objects to draw, the most important last: detections by score, ground truth by decreasing size."""
    scores = _scores(objects)
    if scores is not None:
        drawn = (scores >= score_threshold).nonzero()[:, 0]
        return objects[drawn[scores[drawn].argsort()]]
    boxes, _ = _boxes_and_labels(objects)
    sizes = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    return objects[sizes.argsort(descending=True)]


def _boxes_and_labels(objects: Detections | Target) -> tuple[Tensor, list[int]]:
    if objects.boxes is None or objects.labels is None:
        raise InputError("these objects have boxes without labels, or labels without boxes; give both to draw them")
    return objects.boxes, objects.labels.tolist()


def _scores(objects: Detections | Target) -> Tensor | None:
    """The scores of detections; None for ground truth."""
    return getattr(objects, "scores", None)


def _crowds(objects: Detections | Target) -> list[bool]:
    iscrowd = getattr(objects, "iscrowd", None)
    return [False] * len(objects) if iscrowd is None else iscrowd.tolist()


def _wordings(
    objects: Detections | Target, labels: list[int], categories: Sequence[Category], crowds: list[bool]
) -> list[list[str]]:
    """The texts of all objects, then shorter ones, where there are some."""
    names = [categories[label].name for label in labels]
    scores = _scores(objects)
    if scores is None:
        return [[f"{name} (crowd)" if crowd else name for name, crowd in zip(names, crowds, strict=True)]]
    short = [f"{score:.2f}" for score in scores.tolist()]
    return [[f"{name} {score}" for name, score in zip(names, short, strict=True)], short]


def _thickness(canvas: np.ndarray) -> int:
    """The width of lines: 2 pixels in an image of 640 by 480."""
    return max(1, round(0.5 + side_of(canvas) / 400))


def _line_width(canvas: np.ndarray, corners: np.ndarray) -> int:
    """The width of the lines of boxes: that of the image, and thinner where most objects are small."""
    sides = np.sqrt((corners[:, 2:] - corners[:, :2]).clip(1).prod(axis=1))
    return max(1, min(_thickness(canvas), round(float(np.median(sides)) / 24))) if len(sides) else 1


def _corners(boxes: Tensor, canvas: np.ndarray) -> np.ndarray:
    """``(N, 4)`` int: the outermost pixels of boxes, those outside the image moved to just outside."""
    height, width = canvas.shape[:2]
    corners = np.nan_to_num(boxes.numpy().astype(float))
    corners[:, 2:] = np.maximum(corners[:, 2:] - 1, corners[:, :2])
    return corners.clip(-1, [width, height, width, height]).round().astype(int)


__getattr__ = moved_names(
    __name__,
    {"Colour": "detkit.visualization.drawing.Color", "class_colour": "detkit.visualization.drawing.class_color"},
)
