"""Detections and ground truth drawn into images."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence

import cv2
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import rle_to_masks
from detkit.structures import Category, Classification, Detections, Target
from detkit.visualization.pictures import font_of_size, to_picture

Colour = tuple[int, int, int]

_CROWD: Colour = (150, 150, 150)
_MASK_OPACITY = 0.4
_MOST_TEXT = 1 / 8  # of a picture, in area


def draw_detections(
    image: np.ndarray | Tensor,
    objects: Detections | Target,
    categories: Sequence[Category],
    score_threshold: float = 0.5,
) -> np.ndarray:
    """Draw boxes with their class and score, masks and keypoints into a copy of an image.

    A class has the same colour in every picture. Crowd and ignore regions of a `Target` are dashed and grey. Texts that
    together would hide more than an eighth of the picture are left out.

    Args:
        image: uint8 ``(H, W, 3)`` array, or ``(3, H, W)`` tensor, uint8 or float in [0, 1]; RGB.
        objects: detections or ground truth in pixels of that image.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn.

    Returns:
        The picture, uint8 ``(H, W, 3)``.

    Raises:
        InputError: `image` is not a picture, or a label has no category.
    """
    picture = to_picture(image)
    if objects.boxes is None:
        return picture  # nothing is annotated that could be drawn
    objects = _in_drawing_order(objects.to("cpu"), score_threshold)
    labels = objects.labels.tolist()
    _check_labels(labels, categories)
    crowds = _crowds(objects)
    colours = [_CROWD if crowd else class_colour(label) for crowd, label in zip(crowds, labels, strict=True)]
    thickness = _thickness(picture)
    if objects.masks is not None:
        for mask, colour in zip(rle_to_masks(objects.masks).numpy(), colours, strict=True):
            _draw_mask(picture, mask, colour, thickness)
    corners = _corners(objects.boxes, picture)
    for box, colour, crowd in zip(corners, colours, crowds, strict=True):
        _draw_box(picture, box, colour, thickness, dashed=crowd)
    if objects.keypoints is not None:
        for points, colour in zip(objects.keypoints.numpy(), colours, strict=True):
            _draw_keypoints(picture, points, colour, thickness, visibilities=isinstance(objects, Target))
    return _draw_labels(picture, corners, _texts(objects, categories, crowds), colours)


def draw_answer(
    image: np.ndarray | Tensor,
    answer: Detections | Classification | Target,
    categories: Sequence[Category],
    score_threshold: float = 0.5,
) -> np.ndarray:
    """Draw whatever a model answers, or the truth, into a copy of an image: boxes, or the classes of the image.

    Args:
        image: as of `draw_detections`.
        answer: in pixels of that image; a `Target` without objects shows the class of the image, if it has one.
        categories: ``categories[k]`` names label ``k``.
        score_threshold: detections below it are not drawn; classes always are.

    Raises:
        InputError: `image` is not a picture, or a label has no category.
    """
    if isinstance(answer, Target) and not len(answer) and answer.image_label is not None:
        _check_labels([answer.image_label], categories)
        return _write_lines(to_picture(image), [_first_name(categories[answer.image_label])], [answer.image_label])
    if isinstance(answer, Classification):
        return draw_classes(image, answer, categories)
    return draw_detections(image, answer, categories, score_threshold)


def draw_classes(image: np.ndarray | Tensor, classes: Classification, categories: Sequence[Category]) -> np.ndarray:
    """Write the classes of an image with their scores into a copy of it, best first, one below the other.

    Args:
        image: as of `draw_detections`.
        classes: of that image.
        categories: ``categories[k]`` names label ``k``; of several synonyms the first is written.

    Raises:
        InputError: `image` is not a picture, or a label has no category.
    """
    labels = classes.labels.tolist()
    _check_labels(labels, categories)
    names = [_first_name(categories[label]) for label in labels]
    texts = [f"{name} {score:.2f}" for name, score in zip(names, classes.scores.tolist(), strict=True)]
    return _write_lines(to_picture(image), texts, labels)


def _first_name(category: Category) -> str:
    return category.name.split(",")[0]


def _write_lines(picture: np.ndarray, texts: list[str], labels: list[int]) -> np.ndarray:
    """Write texts from the upper left corner on, one below the other, each in the colour of its class: as many of the
    first as leave the picture to be seen."""
    line = sum(font_of_size(_text_size(picture)).getmetrics())
    corners = np.array([[0, line * place, 0, line * place] for place in range(1, len(labels) + 1)]).reshape(-1, 4)
    colours = [class_colour(label) for label in labels]
    for count in range(len(labels), 0, -1):
        written = _draw_labels(picture, corners[:count], texts[:count], colours[:count])
        if written is not picture:
            return written
    return picture


def _check_labels(labels: list[int], categories: Sequence[Category]) -> None:
    if labels and not 0 <= min(labels) <= max(labels) < len(categories):
        wrong = next(label for label in labels if not 0 <= label < len(categories))
        raise InputError(f"label {wrong} has no name among {len(categories)} categories; give the model's categories")


def class_colour(label: int) -> Colour:
    """The colour of a class: neighbouring labels are far apart on the colour circle."""
    hue = (0.98 + label * 0.381966) % 1  # the golden angle
    saturation, value = ((0.85, 0.95), (0.60, 1.0), (1.0, 0.72))[(label // 8) % 3]
    red, green, blue = colorsys.hsv_to_rgb(hue, saturation, value)
    return round(255 * red), round(255 * green), round(255 * blue)


def _in_drawing_order(objects: Detections | Target, score_threshold: float) -> Detections | Target:
    """What is drawn, the most important last: detections by score, ground truth by decreasing size."""
    if isinstance(objects, Detections):
        objects = objects[objects.scores >= score_threshold]
        return objects[objects.scores.argsort()]
    sizes = (objects.boxes[:, 2:] - objects.boxes[:, :2]).prod(dim=1)
    return objects[sizes.argsort(descending=True)]


def _crowds(objects: Detections | Target) -> list[bool]:
    iscrowd = getattr(objects, "iscrowd", None)
    return [False] * len(objects) if iscrowd is None else iscrowd.tolist()


def _texts(objects: Detections | Target, categories: Sequence[Category], crowds: list[bool]) -> list[str]:
    names = [categories[label].name for label in objects.labels.tolist()]
    if isinstance(objects, Detections):
        return [f"{name} {score:.2f}" for name, score in zip(names, objects.scores.tolist(), strict=True)]
    return [f"{name} (crowd)" if crowd else name for name, crowd in zip(names, crowds, strict=True)]


def _thickness(picture: np.ndarray) -> int:
    """The width of lines: 2 pixels in an image of 640 by 480."""
    return max(1, round(0.5 + _side(picture) / 400))


def _text_size(picture: np.ndarray) -> int:
    """The height of letters: 13 pixels, fewer in images too small for that, more in large ones."""
    side = _side(picture)
    return round(max(9, min(13, side / 12), side / 55))


def _side(picture: np.ndarray) -> float:
    """The side of a square of the same area."""
    return math.sqrt(picture.shape[0] * picture.shape[1])


def _corners(boxes: Tensor, picture: np.ndarray) -> np.ndarray:
    """``(N, 4)`` int: the outermost pixels of boxes, those outside the image moved to just outside."""
    height, width = picture.shape[:2]
    corners = np.nan_to_num(boxes.numpy().astype(float))
    corners[:, 2:] = np.maximum(corners[:, 2:] - 1, corners[:, :2])
    return corners.clip(-1, [width, height, width, height]).round().astype(int)


def _draw_mask(picture: np.ndarray, mask: np.ndarray, colour: Colour, thickness: int) -> None:
    """Tint the pixels of a mask and trace its edge."""
    mask = mask.astype(np.uint8)
    x, y, width, height = cv2.boundingRect(mask)
    inside = mask[y : y + height, x : x + width].astype(bool)
    region = picture[y : y + height, x : x + width]
    region[inside] = ((1 - _MASK_OPACITY) * region[inside] + _MASK_OPACITY * np.array(colour)).round()
    contours, _ = cv2.findContours(mask, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(picture, contours, -1, colour, max(1, thickness // 2), cv2.LINE_AA)


def _draw_box(picture: np.ndarray, box: np.ndarray, colour: Colour, thickness: int, dashed: bool) -> None:
    left, top, right, bottom = box.tolist()
    if not dashed:
        cv2.rectangle(picture, (left, top), (right, bottom), colour, thickness)
        return
    for start, end in (
        ((left, top), (right, top)),
        ((right, top), (right, bottom)),
        ((right, bottom), (left, bottom)),
        ((left, bottom), (left, top)),
    ):
        _draw_dashes(picture, np.array(start), np.array(end), colour, thickness)


def _draw_dashes(picture: np.ndarray, start: np.ndarray, end: np.ndarray, colour: Colour, thickness: int) -> None:
    length, dash = float(np.linalg.norm(end - start)), 5 * thickness
    for offset in np.arange(0, length, 2 * dash):
        stretch = np.array([offset, min(offset + dash, length)]) / length
        first, last = (start + stretch[:, None] * (end - start)).round().astype(int).tolist()
        cv2.line(picture, first, last, colour, thickness)


def _draw_keypoints(
    picture: np.ndarray, points: np.ndarray, colour: Colour, thickness: int, visibilities: bool
) -> None:
    """Dots with a white rim; of ground truth, hidden points are rings and absent ones are left out."""
    height, width = picture.shape[:2]
    for x, y, visibility in np.nan_to_num(points).tolist():
        if visibilities and visibility == 0:
            continue
        centre = round(min(max(x, -9), width + 9)), round(min(max(y, -9), height + 9))
        hidden = visibilities and visibility == 1
        cv2.circle(picture, centre, 2 * thickness + 1, (255, 255, 255), -1, cv2.LINE_AA)
        cv2.circle(picture, centre, 2 * thickness, colour, 1 if hidden else -1, cv2.LINE_AA)


def _draw_labels(picture: np.ndarray, corners: np.ndarray, texts: list[str], colours: list[Colour]) -> np.ndarray:
    """Write each text on its colour where it hides no other; the last find their place first and are on top."""
    font = font_of_size(_text_size(picture))
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    pad = max(1, round(font.size / 6))
    height = sum(font.getmetrics())
    widths = [math.ceil(draw.textlength(text, font=font)) + 2 * pad for text in texts]
    if len(texts) > 1 and height * sum(widths) > _MOST_TEXT * canvas.width * canvas.height:
        return picture
    labels = []
    for box, width, text, colour in reversed(list(zip(corners.tolist(), widths, texts, colours, strict=True))):
        size = width, height
        if size[0] <= canvas.width and 2 * size[1] <= canvas.height:  # else the text would hide the image
            place = _free_place(box, size, canvas.size, [taken for taken, _, _ in labels])
            labels.append((place, text, colour))
    for (left, top, right, bottom), text, colour in reversed(labels):
        draw.rectangle((left, top, right - 1, bottom - 1), fill=colour)
        draw.text((left + pad, top), text, font=font, fill=_readable_on(colour))
    return np.array(canvas)


def _free_place(
    box: list[int], size: tuple[int, int], image_size: tuple[int, int], taken: list[tuple[int, int, int, int]]
) -> tuple[int, int, int, int]:
    """Where a label of `size` ``(width, height)`` goes: above, within, below or beside its box, where no other is."""
    left, top, right, bottom = box
    width, height = size
    corners = [
        (left, top - height),
        (left, top),
        (right - width, top - height),
        (left, bottom),
        (right - width, bottom),
    ]
    places = []
    for x, y in corners:
        x = max(0, min(x, image_size[0] - width))
        y = max(0, min(y, image_size[1] - height))
        places.append((x, y, x + width, y + height))
    free = (place for place in places if not any(_overlap(place, other) for other in taken))
    return next(free, places[0])


def _overlap(first: tuple[int, int, int, int], second: tuple[int, int, int, int]) -> bool:
    return first[0] < second[2] and second[0] < first[2] and first[1] < second[3] and second[1] < first[3]


def _readable_on(colour: Colour) -> Colour:
    """Black or white, whichever stands out."""
    luminance = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2]
    return (0, 0, 0) if luminance > 140 else (255, 255, 255)
