"""Draw the meshes of detections, whose distances from the camera are unknown, one before the other.

Each mesh hides its own far side. Of two meshes that meet in the image, the one is in front whose mask has more of the
pixels that both cover.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from detkit.ops import RunLengths, rle_to_masks
from detkit.rendering import Material, render
from detkit.rendering.rasterizer import NEAR
from detkit.structures import Meshes
from detkit.visualization.colors import Color
from detkit.visualization.image_files import to_image_array
from detkit.visualization.meshes.mesh_drawing import OPACITY


@dataclass(frozen=True, eq=False)
class _Layer:
    """What one mesh shows in a window of the image.

    Args:
        object: its number.
        rows: of the window.
        columns: of the window.
        pixels: ``(h, w, 3)`` uint8.
        covered: ``(h, w)`` bool.
    """

    object: int
    rows: slice
    columns: slice
    pixels: NDArray[np.uint8]
    covered: NDArray[np.bool_]


def draw_layered_meshes(
    image: np.ndarray | Tensor,
    meshes: Meshes,
    camera: Tensor,
    colors: Sequence[Color],
    masks: Tensor | RunLengths | None = None,
) -> np.ndarray:
    """A copy of an image with meshes over it, shaded, each before or behind the others as a whole.

    Args:
        image: as of `detkit.visualization.draw_detections`.
        meshes: of N objects, in the camera frame; the distance of each is of no account.
        camera: ``(3, 3)``, the intrinsic matrix, in pixels of the image.
        colors: of the N objects.
        masks: the visible pixels of the N objects, which tell what is in front; None, or where they do not tell: later
            ones are.

    Raises:
        InputError: `image` is not an image, or `camera` no intrinsic matrix.
    """
    canvas = to_image_array(image)
    layers = [
        layer
        for number, color in enumerate(colors)
        if (layer := _layer(number, meshes[number].to("cpu"), camera.cpu(), color, canvas.shape[:2])) is not None
    ]
    visible = None if masks is None else rle_to_masks(masks).cpu().numpy()
    over, covered = canvas.copy(), np.zeros(canvas.shape[:2], dtype=bool)
    for position in back_to_front(_in_front(layers, visible)):
        layer = layers[position]
        over[layer.rows, layer.columns][layer.covered] = layer.pixels[layer.covered]
        covered[layer.rows, layer.columns] |= layer.covered
    canvas[covered] = (OPACITY * over[covered] + (1 - OPACITY) * canvas[covered]).round()
    return canvas


def back_to_front(in_front: NDArray[np.bool_]) -> list[int]:
    """The order in which N layers are drawn: each before those that are in front of it, as far as no circle forbids it.

    Args:
        in_front: ``(N, N)``, whether the layer of the row is in front of that of the column. Of several layers that
            may come next, the first does.
    """
    waiting = list(range(len(in_front)))
    order = []
    while waiting:
        hidden = in_front[np.ix_(waiting, waiting)].sum(axis=1)  # how many that are not drawn yet lie behind each
        order.append(waiting.pop(int(hidden.argmin())))
    return order


def _layer(number: int, mesh: Meshes, camera: Tensor, color: Color, size: tuple[int, int]) -> _Layer | None:
    """The layer of one mesh; None where the image shows nothing of it."""
    window = _window(mesh, camera, size)
    if window is None:
        return None
    left, top, right, bottom = window
    shifted = camera - camera.new_tensor([[0, 0, left], [0, 0, top], [0, 0, 0]])
    red, green, blue = color
    drawn = render(mesh, shifted, (bottom - top, right - left), [Material((red / 255, green / 255, blue / 255))])
    covered = drawn.object_map.numpy() >= 0
    pixels = drawn.image.permute(1, 2, 0).numpy()
    return _Layer(number, slice(top, bottom), slice(left, right), pixels, covered) if covered.any() else None


def _window(mesh: Meshes, camera: Tensor, size: tuple[int, int]) -> tuple[int, int, int, int] | None:
    """The first and last columns and rows, ``left top right bottom``, that a mesh can show in; None for none."""
    height, width = size
    if not len(mesh.faces):
        return None
    seen = mesh.vertices.detach().double() @ camera.double().T
    if bool((seen[:, 2] < NEAR).any()):  # what is cut away may reach anywhere
        return 0, 0, width, height
    low, high = (bound.nan_to_num().numpy() for bound in (seen[:, :2] / seen[:, 2:]).aminmax(dim=0))
    left, top = np.clip(np.floor(low), 0, (width, height)).astype(int).tolist()
    right, bottom = np.clip(np.ceil(high), 0, (width, height)).astype(int).tolist()
    return (left, top, right, bottom) if left < right and top < bottom else None


def _in_front(layers: Sequence[_Layer], masks: NDArray[np.bool_] | None) -> NDArray[np.bool_]:
    """``(N, N)``, whether each layer is in front of each other one that it meets."""
    in_front = np.zeros((len(layers), len(layers)), dtype=bool)
    for later in range(len(layers)):
        for earlier in range(later):
            votes = _votes(layers[earlier], layers[later], masks)
            if votes is not None:
                first, second = (earlier, later) if votes > 0 else (later, earlier)
                in_front[first, second] = True
    return in_front


def _votes(one: _Layer, other: _Layer, masks: NDArray[np.bool_] | None) -> int | None:
    """How many more of the pixels that both cover are in the mask of `one` than in that of `other`; None: they do not
    meet."""
    rows, columns = _common(one.rows, other.rows), _common(one.columns, other.columns)
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return None
    both = _part(one, rows, columns) & _part(other, rows, columns)
    if not both.any():
        return None
    if masks is None:
        return 0
    own, others = (int((masks[layer.object, rows, columns] & both).sum()) for layer in (one, other))
    return own - others


def _common(one: slice, other: slice) -> slice:
    return slice(max(one.start, other.start), min(one.stop, other.stop))


def _part(layer: _Layer, rows: slice, columns: slice) -> NDArray[np.bool_]:
    """What a layer covers of a part of its window."""
    top, left = layer.rows.start, layer.columns.start
    return layer.covered[rows.start - top : rows.stop - top, columns.start - left : columns.stop - left]
