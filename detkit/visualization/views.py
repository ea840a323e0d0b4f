"""What a network sees in an image, as one picture: input, Grad-CAM, occlusion, and what excites its filters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from detkit.preprocess import Batch, Preprocess
from detkit.visualization.attribution.attribution_target import Subject
from detkit.visualization.attribution.deconvolution import Unit, extent, project, strongest_units
from detkit.visualization.attribution.occlusion import Occlusion
from detkit.visualization.image_files import font_of_size, to_picture

_WIDTH = 1290  # of the picture, in pixels
_GAP = 6
_TEXT = 15
_HEAT = 0.5  # opacity of a heat map


@dataclass(frozen=True)
class FilterView:
    """What excites a filter in one image.

    Args:
        unit: where, and how much.
        patch: that part of the network's input, uint8 ``(S, S, 3)``.
        projection: what of it excites the filter, of the same size, gray where nothing does.
    """

    unit: Unit
    patch: np.ndarray
    projection: np.ndarray


def filter_views(
    subject: Subject,
    batches: Sequence[Batch],
    layers: Sequence[str],
    filters: Sequence[int] | None = None,
    count: int = 8,
    top: int = 9,
) -> dict[str, list[list[FilterView]]]:
    """The projections of filters' strongest activations beside the patches (Zeiler & Fergus 2013, figure 2).

    Args:
        subject: whose network to look at.
        batches: the network's input for each image, from `Subject.prepare`.
        layers, filters, count, top: as for `strongest_units`.
    """
    images = [batch.images for batch in batches]
    network, forward = subject.network, subject.forward
    units = strongest_units(network, images, layers, filters, count, top, forward)
    views: dict[tuple[str, Unit], FilterView] = {}
    for index, image in enumerate(images):
        here = {
            name: [unit for filter_units in of_layer for unit in filter_units if unit.image == index]
            for name, of_layer in units.items()
        }
        if not any(here.values()):
            continue
        seen = input_picture(subject.preprocess, batches[index])
        for name, projections in project(network, image, here, forward).items():
            for unit, pixels in projections:
                pixels = pixels[:, : seen.shape[0], : seen.shape[1]]
                left, upper, right, lower = extent(pixels)
                patch = seen[upper:lower, left:right]
                shown = _contrast(pixels[:, upper:lower, left:right], subject.preprocess)
                views[name, unit] = FilterView(unit, patch, shown)
    return {
        name: [[views[name, unit] for unit in filter_units] for filter_units in of_layer]
        for name, of_layer in units.items()
    }


def input_picture(preprocess: Preprocess, batch: Batch) -> np.ndarray:
    """The only image of `batch` as the network sees it, without padding."""
    height, width = batch.sizes[0]
    pixels = batch.images[0, :, :height, :width] * preprocess.std + preprocess.mean
    return to_picture(pixels.clamp(0, 1))


def draw_heat(picture: np.ndarray, heat: Tensor, colors: str = "jet") -> np.ndarray:
    """`picture` under a heat map, which is stretched over it.

    Args:
        picture: uint8 ``(H, W, 3)``.
        heat: ``(h, w)`` in [0, 1].
        colors: matplotlib's name of a color map.
    """
    height, width = picture.shape[:2]
    heat = cv2.resize(heat.detach().cpu().numpy().astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colored = matplotlib.colormaps[colors](heat.clip(0, 1))[..., :3] * 255
    return ((1 - _HEAT) * picture + _HEAT * colored).round().astype(np.uint8)


def draw_cam(subject: Subject, batch: Batch, cam: Tensor) -> np.ndarray:
    """Grad-CAM's map over what the network sees, red where it looks."""
    height, width = batch.sizes[0]
    padded = cv2.resize(cam.cpu().numpy(), batch.padded_size[::-1], interpolation=cv2.INTER_LINEAR)
    heat = cam.new_tensor(padded[:height, :width])
    return draw_heat(input_picture(subject.preprocess, batch), heat / heat.max().clamp(min=1e-12))


def draw_occlusion(picture: np.ndarray, occlusion: Occlusion) -> np.ndarray:
    """The scores over the image: blue is the lowest, where what counts is hidden, and red the highest."""
    low, high = occlusion.pixels.aminmax()
    return draw_heat(picture, (occlusion.pixels - low) / (high - low).clamp(min=1e-12))


def draw_views(panels: Mapping[str, np.ndarray], stages: Mapping[str, list[list[FilterView]]]) -> np.ndarray:
    """One picture of everything.

    Args:
        panels: pictures beside each other in the first row, by title.
        stages: for each layer its filters' views; each filter's patches stand above their projections.
    """
    width = (_WIDTH - _GAP * (len(panels) - 1)) // len(panels)
    fitted = [_within(picture, width, width) for picture in panels.values()]
    titled = [
        np.concatenate([_text(title, width), _centered(picture, max(one.shape[0] for one in fitted), width)])
        for title, picture in zip(panels, fitted, strict=True)
    ]
    rows = [_beside(titled)]
    for layer, filters in stages.items():
        numbers = ", ".join(f"{views[0].unit.channel} ({views[0].unit.activation:.3g})" for views in filters)
        rows.append(_text(f"{layer}: filters {numbers}; above the image, below what of it excites them", _WIDTH))
        side = (_WIDTH - _GAP * (len(filters) - 1)) // max(8, len(filters))
        rows.append(_beside([_filter_block(views, side) for views in filters]))
    return np.concatenate([_centered(row, row.shape[0] + _GAP, _WIDTH) for row in rows])


def _filter_block(views: Sequence[FilterView], side: int) -> np.ndarray:
    """The patches of a filter above their projections, each a square of tiles."""
    return np.concatenate([_tiles([getattr(view, kind) for view in views], side) for kind in ("patch", "projection")])


def _tiles(pictures: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Pictures in a square of `side` pixels, as many in a row as in a column."""
    columns = math.ceil(math.sqrt(len(pictures)))
    block = np.full((side, side, 3), 255, np.uint8)
    size = side // columns
    for index, picture in enumerate(pictures):
        y, x = (position * size for position in divmod(index, columns))
        block[y : y + size - 1, x : x + size - 1] = _sized(picture, size - 1, size - 1)
    return block


def _contrast(projection: Tensor, preprocess: Preprocess) -> np.ndarray:
    """A projection ``(3, H, W)`` around gray, stretched to what a picture can hold."""
    values = projection * preprocess.std
    return to_picture((0.5 + 0.5 * values / values.abs().max().clamp(min=1e-12)).clamp(0, 1))


def _within(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """`picture` as large as fits."""
    scale = min(height / picture.shape[0], width / picture.shape[1])
    return _sized(picture, *(max(1, round(length * scale)) for length in picture.shape[:2]))


def _sized(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    smaller = height < picture.shape[0]
    return cv2.resize(picture, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _centered(picture: np.ndarray, height: int, width: int) -> np.ndarray:
    """`picture` at the top of a white one, in the middle from left to right."""
    canvas = np.full((height, width, 3), 255, np.uint8)
    left = (width - picture.shape[1]) // 2
    canvas[: picture.shape[0], left : left + picture.shape[1]] = picture
    return canvas


def _beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures of the same height in a row."""
    gap = np.full((pictures[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for picture in pictures for part in (gap, picture)]
    return np.concatenate(parts[1:], axis=1)


def _text(text: str, width: int) -> np.ndarray:
    """A line of text, cut to `width`."""
    font = font_of_size(_TEXT)
    canvas = Image.new("RGB", (width, _TEXT + 10), "white")
    draw = ImageDraw.Draw(canvas)
    while text and draw.textlength(text, font=font) > width - 6:
        text = text[:-2].rstrip(" …") + "…" if len(text) > 2 else ""
    draw.text((3, 4), text, font=font, fill=(40, 40, 40))
    return np.array(canvas)
