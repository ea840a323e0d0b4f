"""Pictures: detections and ground truth drawn into images, and the curves of a training.

Images are RGB. A picture that comes out is a uint8 array ``(H, W, 3)``.
"""

from __future__ import annotations

import colorsys
import csv
import io
import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import rle_to_masks
from detkit.structures import Category, Detections, Target

Colour = tuple[int, int, int]
Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, both ``(N,)``."""

_COLOURLESS = {".pgm", ".pbm"}
_CROWD: Colour = (150, 150, 150)
_MASK_OPACITY = 0.4
_CELL = 480
_MARGIN = 12


def draw_detections(
    image: np.ndarray | Tensor,
    objects: Detections | Target,
    categories: Sequence[Category],
    score_threshold: float = 0.5,
) -> np.ndarray:
    """Draw boxes with their class and score, masks and keypoints into a copy of an image.

    A class has the same colour in every picture. Crowd and ignore regions of a `Target` are dashed and grey.

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
    objects = _in_drawing_order(objects.to("cpu"), score_threshold)
    labels = objects.labels.tolist()
    if labels and not 0 <= min(labels) <= max(labels) < len(categories):
        wrong = next(label for label in labels if not 0 <= label < len(categories))
        raise InputError(f"label {wrong} has no name among {len(categories)} categories; give the model's categories")
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
        scale = _CELL / max(picture.shape[:2])
        enlarged = _resize(picture, scale)
        for objects in (target, found):
            cells.append(draw_detections(enlarged, _scaled(objects, scale, enlarged), categories, score_threshold))
    columns = 2 if len(cells) <= 6 else 4
    titles = ["Ground truth", f"Detections, score ≥ {score_threshold:g}"] * (columns // 2)
    rows = [_title_row(titles)]
    rows += [_row(cells[start : start + columns], columns) for start in range(0, len(cells), columns)]
    write_image(path, np.concatenate(rows, axis=0))


def plot_curves(metrics_csv: str | Path, path: str | Path) -> None:
    """Draw a training's losses and AP over its steps as a PNG, from the ``metrics.csv`` of Lightning's logger.

    Columns are told apart by the last part of their name: ``AP``, ``AP50`` … are metrics, ``epoch`` and ``step`` place
    a row, ``lr…`` is left out, and every other column is a loss. Any may be missing, and cells may be empty.

    Raises:
        InputError: the file does not exist.
    """
    columns, epochs = _read_curves(Path(metrics_csv))
    metrics = {name: curve for name, curve in columns.items() if _is_metric(name)}
    losses = {name: curve for name, curve in columns.items() if name not in metrics}
    figure = Figure(figsize=(12, 5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    _plot_losses(left, losses)
    _plot_metrics(right, metrics)
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        _add_epochs(axis, epochs)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png")
    _write(Path(path), encoded.getvalue())


def write_image(path: str | Path, image: np.ndarray) -> None:
    """Write a uint8 RGB picture ``(H, W, 3)``; the suffix chooses the format. The file appears whole or not at all.

    Raises:
        InputError: OpenCV writes no such format.
    """
    path = Path(path)
    if not cv2.haveImageWriter(f"image{path.suffix}") or path.suffix.lower() in _COLOURLESS:
        raise InputError(f"{path}: no picture can be written as {path.suffix!r}; name it .png or .jpg")
    _, encoded = cv2.imencode(path.suffix, cv2.cvtColor(to_picture(image), cv2.COLOR_RGB2BGR))
    _write(path, encoded.tobytes())


def to_picture(image: np.ndarray | Tensor) -> np.ndarray:
    """A copy as uint8 array ``(H, W, 3)`` of such an array or of a tensor ``(3, H, W)``, uint8 or float in [0, 1].

    Raises:
        InputError: it is neither.
    """
    if isinstance(image, Tensor) and image.ndim == 3 and image.shape[0] == 3:
        values = image.detach().cpu().permute(1, 2, 0)
        image = (
            (values.float().clamp(0, 1) * 255).round().byte().numpy() if values.is_floating_point() else values.numpy()
        )
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
        found = f"{image.dtype} {tuple(image.shape)}" if hasattr(image, "shape") else type(image).__name__
        raise InputError(f"a picture is a uint8 array (H, W, 3) or a tensor (3, H, W), got {found}; convert it to RGB")
    return np.array(image, order="C")


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
    font = _font(_text_size(picture))
    canvas = Image.fromarray(picture)
    draw = ImageDraw.Draw(canvas)
    pad = max(1, round(font.size / 6))
    ascent, descent = font.getmetrics()
    labels = []
    for box, text, colour in reversed(list(zip(corners.tolist(), texts, colours, strict=True))):
        size = math.ceil(draw.textlength(text, font=font)) + 2 * pad, ascent + descent
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


def _font(size: int, bold: bool = False) -> ImageFont.FreeTypeFont:
    """DejaVu Sans, which comes with matplotlib."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(str(Path(matplotlib.get_data_path(), "fonts", "ttf", name)), size)


def _resize(picture: np.ndarray, scale: float) -> np.ndarray:
    height, width = (max(1, round(side * scale)) for side in picture.shape[:2])
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC)


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


def _row(cells: list[np.ndarray], columns: int) -> np.ndarray:
    """Pictures side by side on white, each in the middle of its column."""
    height = max(cell.shape[0] for cell in cells) + _MARGIN
    row = np.full((height, columns * (_CELL + _MARGIN) + _MARGIN, 3), 255, np.uint8)
    for column, cell in enumerate(cells):
        left = _MARGIN + column * (_CELL + _MARGIN) + (_CELL - cell.shape[1]) // 2
        top = (height - _MARGIN - cell.shape[0]) // 2
        row[top : top + cell.shape[0], left : left + cell.shape[1]] = cell
    return row


def _title_row(titles: list[str]) -> np.ndarray:
    font = _font(17, bold=True)
    canvas = Image.new("RGB", (len(titles) * (_CELL + _MARGIN) + _MARGIN, 42), "white")
    draw = ImageDraw.Draw(canvas)
    for column, title in enumerate(titles):
        middle = _MARGIN + column * (_CELL + _MARGIN) + _CELL // 2
        draw.text((middle, 21), title, font=font, fill=(40, 40, 40), anchor="mm")
    return np.array(canvas)


def _read_curves(path: Path) -> tuple[dict[str, Curve], Curve]:
    """The columns of ``metrics.csv`` that hold numbers, by name, and the epoch at each step."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the metrics.csv of a training run") from None
    steps = [_number(row.get("step")) for row in rows]
    steps = np.array([place if math.isnan(step) else step for place, step in enumerate(steps)])
    curves = {name: _curve(rows, name, steps) for name in (rows[0] if rows else ())}
    epochs = curves.pop("epoch", (steps[:0], steps[:0]))
    drawn = {name: curve for name, curve in curves.items() if len(curve[0]) and not re.match(r"lr|step$", name)}
    return drawn, epochs


def _curve(rows: list[dict[str, str]], name: str, steps: np.ndarray) -> Curve:
    values = np.array([_number(row.get(name)) for row in rows])
    logged = np.isfinite(values)
    return steps[logged], values[logged]


def _number(text: str | None) -> float:
    try:
        return float(text)
    except (TypeError, ValueError):  # an empty cell, or a word
        return math.nan


def _is_metric(name: str) -> bool:
    return re.fullmatch(r"A[PR]\d*[sml]?", name.rpartition("/")[2]) is not None


def _plot_losses(axis: Axes, losses: dict[str, Curve]) -> None:
    """Training losses faint as logged and firm as smoothed, validation losses dashed in the colour of the same term."""
    terms = sorted({_term(name) for name in losses}, key=lambda term: (term != "loss", term))
    colours = {term: matplotlib.colormaps["tab10"](place % 10) for place, term in enumerate(terms)}
    colours["loss"] = "black"
    for name, (steps, values) in sorted(losses.items(), key=lambda item: terms.index(_term(item[0]))):
        colour, validation = colours[_term(name)], name.startswith("val")
        smooth = _smoothed(values)
        if len(values) > 20:
            axis.plot(steps, values, color=colour, alpha=0.15, linewidth=0.8)
        style = {"linestyle": "--", "marker": ".", "markersize": 5} if validation else {}
        axis.plot(steps, smooth, color=colour, linewidth=2.2 if name.endswith("/loss") else 1.4, label=name, **style)
    highest = [np.percentile(values, 98) for _, values in losses.values()]
    axis.set(title="Losses", ylim=(0, 1.1 * max(highest, default=0) or 1))
    _name_curves(axis, losses)


def _plot_metrics(axis: Axes, metrics: dict[str, Curve]) -> None:
    """AP and AR in percent; AP alone is bold."""
    order = sorted(metrics, key=lambda name: (not name.endswith("/AP"), "AR" in name))
    for place, name in enumerate(order):
        steps, values = metrics[name]
        measured = values >= 0  # -1 stands where there was nothing to measure
        bold = {"color": "black", "linewidth": 2.6} if name.endswith("AP") else {"linewidth": 1.2, "alpha": 0.85}
        colour = {} if name.endswith("AP") else {"color": matplotlib.colormaps["tab10"](place % 10)}
        style = "--" if "/AR" in name else "-"
        axis.plot(
            steps[measured], 100 * values[measured], style, marker="o", markersize=3, label=name, **bold, **colour
        )
    axis.set(title="Average precision and recall, %", ylim=(0, None))
    _name_curves(axis, metrics)


def _name_curves(axis: Axes, curves: dict[str, Curve]) -> None:
    if curves:
        axis.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    else:
        axis.text(0.5, 0.5, "nothing logged", ha="center", va="center", color="grey", transform=axis.transAxes)


def _term(name: str) -> str:
    return name.rpartition("/")[2]


def _smoothed(values: np.ndarray) -> np.ndarray:
    """The mean of a window of a fortieth of the curve around each value."""
    half = len(values) // 80
    if half == 0:
        return values
    summed = np.concatenate([[0.0], np.cumsum(values)])
    place = np.arange(len(values))
    first, last = np.maximum(place - half, 0), np.minimum(place + half + 1, len(values))
    return (summed[last] - summed[first]) / (last - first)


def _add_epochs(axis: Axes, epochs: Curve) -> None:
    """Epochs as a second axis above."""
    steps, numbers = epochs
    if len(numbers) == 0 or numbers.max() == 0:
        return
    first = {number: steps[numbers == number].min() for number in np.unique(numbers)}
    shown = list(first)[:: math.ceil(len(first) / 8)]
    above = axis.secondary_xaxis("top")
    above.set_xticks([first[number] for number in shown], [f"{number:g}" for number in shown], fontsize=8, color="grey")
    above.set_xlabel("epoch", fontsize=8, color="grey")
    above.spines["top"].set_visible(False)
    above.tick_params(color="lightgrey")


def _write(path: Path, content: bytes) -> None:
    """Write a file that appears whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        unfinished.write_bytes(content)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
