"""One image of a network's attributions: its input, Grad-CAM, occlusion, and the strongest activations of filters."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import matplotlib
import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from detkit.deprecation import moved_names
from detkit.preprocess import Batch, Preprocess
from detkit.visualization.attribution.attribution_target import AttributionTarget
from detkit.visualization.attribution.deconvolution import Unit, extent, project, strongest_units
from detkit.visualization.attribution.occlusion import Occlusion
from detkit.visualization.image_files import font_of_size, to_image_array

_WIDTH = 1290  # of the image, in pixels
_GAP = 6
_TEXT = 15
_HEAT = 0.5  # opacity of a heat map


@dataclass(frozen=True)
class FilterView:
    """The strongest activation of a filter in one image.

    Args:
        unit: its location and value.
        patch: that part of the network's input, uint8 ``(S, S, 3)``.
        projection: the activation projected back to these pixels, of the same size, gray where it is zero.
    """

    unit: Unit
    patch: np.ndarray
    projection: np.ndarray


def filter_views(
    target: AttributionTarget,
    batches: Sequence[Batch],
    layers: Sequence[str],
    filters: Sequence[int] | None = None,
    count: int = 8,
    top: int = 9,
) -> dict[str, list[list[FilterView]]]:
    """The projections of filters' strongest activations next to the image patches (Zeiler & Fergus 2013, figure 2).

    Args:
        target: whose network to inspect.
        batches: the network's input for each image, from `AttributionTarget.prepare`.
        layers, filters, count, top: as for `strongest_units`.
    """
    images = [batch.images for batch in batches]
    network, forward = target.network, target.forward
    units = strongest_units(network, images, layers, filters, count, top, forward)
    views: dict[tuple[str, Unit], FilterView] = {}
    for index, image in enumerate(images):
        units_of_image = {
            name: [unit for filter_units in layer_units for unit in filter_units if unit.image == index]
            for name, layer_units in units.items()
        }
        if not any(units_of_image.values()):
            continue
        pixels_in = network_input_image(target.preprocess, batches[index])
        for name, projections in project(network, image, units_of_image, forward).items():
            for unit, pixels in projections:
                pixels = pixels[:, : pixels_in.shape[0], : pixels_in.shape[1]]
                left, upper, right, lower = extent(pixels)
                patch = pixels_in[upper:lower, left:right]
                projection = _contrast(pixels[:, upper:lower, left:right], target.preprocess)
                views[name, unit] = FilterView(unit, patch, projection)
    return {
        name: [[views[name, unit] for unit in filter_units] for filter_units in layer_units]
        for name, layer_units in units.items()
    }


def network_input_image(preprocess: Preprocess, batch: Batch) -> np.ndarray:
    """The only image of `batch` at the network's input, without normalization and padding."""
    height, width = batch.sizes[0]
    pixels = batch.images[0, :, :height, :width] * preprocess.std + preprocess.mean
    return to_image_array(pixels.clamp(0, 1))


def draw_heat(image: np.ndarray, heat: Tensor, colors: str = "jet") -> np.ndarray:
    """Blend an image with a heat map, which is resized to it.

    Args:
        image: uint8 ``(H, W, 3)``.
        heat: ``(h, w)`` in [0, 1].
        colors: matplotlib's name of a color map.
    """
    height, width = image.shape[:2]
    values = cv2.resize(heat.detach().cpu().numpy().astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    colored = np.asarray(matplotlib.colormaps[colors](values.clip(0, 1)))[..., :3] * 255
    return ((1 - _HEAT) * image + _HEAT * colored).round().astype(np.uint8)


def draw_cam(target: AttributionTarget, batch: Batch, cam: Tensor) -> np.ndarray:
    """Grad-CAM's map over the network's input; red is the strongest."""
    height, width = batch.sizes[0]
    padded = cv2.resize(cam.cpu().numpy(), batch.padded_size[::-1], interpolation=cv2.INTER_LINEAR)
    heat = cam.new_tensor(padded[:height, :width])
    return draw_heat(network_input_image(target.preprocess, batch), heat / heat.max().clamp(min=1e-12))


def draw_occlusion(image: np.ndarray, occlusion: Occlusion) -> np.ndarray:
    """The scores over the image: blue is the lowest, where the occluded pixels matter most, and red the highest."""
    low, high = occlusion.pixels.aminmax()
    return draw_heat(image, (occlusion.pixels - low) / (high - low).clamp(min=1e-12))


def draw_views(panels: Mapping[str, np.ndarray], stages: Mapping[str, list[list[FilterView]]]) -> np.ndarray:
    """Arrange everything in one image.

    Args:
        panels: the images of the first row, by title.
        stages: for each layer its filters' views; each filter's patches are above their projections.
    """
    width = (_WIDTH - _GAP * (len(panels) - 1)) // len(panels)
    fitted = [_within(image, width, width) for image in panels.values()]
    titled = [
        np.concatenate([_text(title, width), _centered(image, max(one.shape[0] for one in fitted), width)])
        for title, image in zip(panels, fitted, strict=True)
    ]
    rows = [_side_by_side(titled)]
    for layer, filters in stages.items():
        numbers = ", ".join(f"{views[0].unit.channel} ({views[0].unit.activation:.3g})" for views in filters)
        rows.append(_text(f"{layer}: filters {numbers}; image patches above, projected activations below", _WIDTH))
        side = (_WIDTH - _GAP * (len(filters) - 1)) // max(8, len(filters))
        rows.append(_side_by_side([_filter_block(views, side) for views in filters]))
    return np.concatenate([_centered(row, row.shape[0] + _GAP, _WIDTH) for row in rows])


def _filter_block(views: Sequence[FilterView], side: int) -> np.ndarray:
    """The patches of a filter above their projections, each a square of tiles."""
    return np.concatenate([_tiles([getattr(view, kind) for view in views], side) for kind in ("patch", "projection")])


def _tiles(images: Sequence[np.ndarray], side: int) -> np.ndarray:
    """Images in a square of `side` pixels, as many in a row as in a column."""
    columns = math.ceil(math.sqrt(len(images)))
    block = np.full((side, side, 3), 255, np.uint8)
    size = side // columns
    for index, image in enumerate(images):
        y, x = (position * size for position in divmod(index, columns))
        block[y : y + size - 1, x : x + size - 1] = _sized(image, size - 1, size - 1)
    return block


def _contrast(projection: Tensor, preprocess: Preprocess) -> np.ndarray:
    """A projection ``(3, H, W)`` around gray, scaled to [0, 1]."""
    values = projection * preprocess.std
    return to_image_array((0.5 + 0.5 * values / values.abs().max().clamp(min=1e-12)).clamp(0, 1))


def _within(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image` scaled to fit."""
    scale = min(height / image.shape[0], width / image.shape[1])
    return _sized(image, *(max(1, round(length * scale)) for length in image.shape[:2]))


def _sized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    smaller = height < image.shape[0]
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)


def _centered(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image` on white, at the top and horizontally centered."""
    canvas = np.full((height, width, 3), 255, np.uint8)
    left = (width - image.shape[1]) // 2
    canvas[: image.shape[0], left : left + image.shape[1]] = image
    return canvas


def _side_by_side(images: Sequence[np.ndarray]) -> np.ndarray:
    """Images of the same height in a row."""
    gap = np.full((images[0].shape[0], _GAP, 3), 255, np.uint8)
    parts = [part for image in images for part in (gap, image)]
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


__getattr__ = moved_names(__name__, {"input_picture": "detkit.visualization.views.network_input_image"})
