"""How an image lies in another frame, and how everything that is known of it moves along.

Coordinates are continuous pixels: a frame of height H and width W spans ``[0, W] x [0, H]``, and the middle of its
first pixel is ``(0.5, 0.5)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import torch
from torch import Tensor

from detkit.geometry.axis import Array, Axis
from detkit.geometry.pasting import Paste
from detkit.geometry.rectangles import (
    Matrix,
    Rectangle,
    Size,
    are_near,
    clipped,
    moved_box,
    product,
    whole,
    whole_frame,
)

IMAGENET_MEAN_COLOR = (124, 116, 104)  # about zero once normalized


@dataclass(frozen=True)
class Placement:
    """Where the pixels of a given frame lie in a new one: an affine map, exact where it is parallel to the axes.

    A point ``(x, y)`` of the given frame is ``(a x + b y + c, d x + e y + f)`` in the new one. Moving takes numpy
    arrays and tensors alike; tensors stay on their device, and boxes and points copy nothing to it.

    Args:
        matrix: ``((a, b, c), (d, e, f))``.
        size: (height, width) of the new frame.
        given_size: (height, width) of the given frame.
        window: the part ``x1 y1 x2 y2`` of the new frame that shows the given one; the rest is border. None: as much as
            the moved frame covers.
    """

    matrix: Matrix
    size: Size
    given_size: Size
    window: Rectangle | None = None

    def __post_init__(self) -> None:
        if self.window is None:
            height, width = self.given_size
            object.__setattr__(self, "window", clipped(moved_box(self.matrix, (0, 0, width, height)), self.size))

    @classmethod
    def identity(cls, size: Size) -> Placement:
        """Everything stays where it is."""
        return cls(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), size, size, whole_frame(size))

    @classmethod
    def resize(cls, given_size: Size, size: Size) -> Placement:
        """The whole frame stretched to another size."""
        (given_height, given_width), (height, width) = given_size, size
        return cls(((width / given_width, 0.0, 0.0), (0.0, height / given_height, 0.0)), size, given_size)

    @classmethod
    def part(cls, given_size: Size, part: Rectangle, place: Rectangle, size: Size) -> Placement:
        """The rectangle `part` of the given frame stretched over the rectangle `place` of the new one, both
        ``x1 y1 x2 y2``; what lies outside of `part` is not shown."""
        scale_x = (place[2] - place[0]) / (part[2] - part[0])
        scale_y = (place[3] - place[1]) / (part[3] - part[1])
        offsets = place[0] - scale_x * part[0], place[1] - scale_y * part[1]
        return cls(((scale_x, 0.0, offsets[0]), (0.0, scale_y, offsets[1])), size, given_size, place)

    @classmethod
    def mirror(cls, size: Size, horizontal: bool, vertical: bool) -> Placement:
        """Left and right exchanged, or top and bottom."""
        height, width = size
        row_x = (-1.0, 0.0, float(width)) if horizontal else (1.0, 0.0, 0.0)
        row_y = (0.0, -1.0, float(height)) if vertical else (0.0, 1.0, 0.0)
        return cls((row_x, row_y), size, size, whole_frame(size))

    @property
    def is_axis_aligned(self) -> bool:
        """Whether boxes stay boxes."""
        return self.matrix[0][1] == 0 and self.matrix[1][0] == 0

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self.matrix == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))

    @property
    def mirrors(self) -> bool:
        """Whether left and right change places, in whatever direction."""
        return self._determinant < 0

    @property
    def area_scale(self) -> float:
        """By how much an area grows."""
        return abs(self._determinant)

    @cached_property
    def shown(self) -> Rectangle:
        """The part ``x1 y1 x2 y2`` of the given frame that the new one shows, exact where it is of whole pixels."""
        part = clipped(moved_box(self._inverse_matrix, self.window), self.given_size)
        return whole(part) or part

    @property
    def has_border(self) -> bool:
        """Whether a part of the new frame shows nothing of the given one."""
        return self.window != whole_frame(self.size)

    @cached_property
    def _axes(self) -> tuple[Axis, Axis]:
        """What becomes of x and of y where the map is parallel to the axes."""
        (a, _, c), (_, e, f) = self.matrix
        (x1, y1, x2, y2), shown = self.window, self.shown
        return Axis.of(a, c, self.size[1], (shown[0], shown[2]), (x1, x2)), Axis.of(
            e, f, self.size[0], (shown[1], shown[3]), (y1, y2)
        )

    @property
    def _keeps_pixels(self) -> bool:
        return self.is_identity and self.size == self.given_size and not self.has_border

    @cached_property
    def _inverse_matrix(self) -> Matrix:
        (a, b, c), (d, e, f) = self.matrix
        if self.is_axis_aligned:
            return (1 / a, 0.0, -c / a), (0.0, 1 / e, -f / e)
        k = self._determinant
        return (e / k, -b / k, (b * f - c * e) / k), (-d / k, a / k, (c * d - a * f) / k)

    @property
    def _determinant(self) -> float:
        (a, b, _), (d, e, _) = self.matrix
        return a * e - b * d

    def points(self, points: Array) -> Array:
        """`points` ``(..., 2)`` x y of the given frame, in the new one."""
        if self.is_identity:
            return points
        x, y = points[..., 0], points[..., 1]
        if self.is_axis_aligned:
            along_x, along_y = self._axes
            return _stacked([along_x(x), along_y(y)])
        (a, b, c), (d, e, f) = self.matrix
        return _stacked([a * x + b * y + c, d * x + e * y + f])

    def boxes(self, boxes: Array) -> Array:
        """`boxes` ``(..., 4)`` x1 y1 x2 y2 of the given frame, in the new one: the smallest ones around what they hold.
        They may reach out of it."""
        if self.is_identity:
            return boxes
        if self.is_axis_aligned:
            ends = [
                axis(_reversed(boxes[..., first::2]) if axis.scale < 0 else boxes[..., first::2])
                for first, axis in enumerate(self._axes)
            ]
            return _stacked(ends).reshape(boxes.shape)
        x1, y1, x2, y2 = (boxes[..., index] for index in range(4))
        corners = self.points(_stacked([_stacked([x1, x2, x2, x1]), _stacked([y1, y1, y2, y2])]))
        if isinstance(corners, Tensor):
            return torch.cat((corners.amin(dim=-2), corners.amax(dim=-2)), dim=-1)
        return np.concatenate((corners.min(axis=-2), corners.max(axis=-2)), axis=-1)

    def masks(self, masks: Array) -> Array:
        """`masks` ``(N, H, W)`` bool of the given frame, in the new one; border belongs to none.

        Resampled linearly, by areas where they shrink to less than half, and cut at a half. A tensor is moved on the
        CPU and returned to its device.
        """
        if isinstance(masks, Tensor):
            return torch.from_numpy(self.masks(masks.cpu().numpy())).to(masks.device)
        self._check_size("masks", masks.shape[1:])
        if self._keeps_pixels:
            return masks
        if self._paste is not None:
            return self._paste.masks(masks)
        moved = [self._warped(mask.astype(np.uint8) * 255, (0,)) >= 128 for mask in masks]
        return np.reshape(moved, (len(masks), *self.size)).astype(bool)

    def image(self, image: np.ndarray, fill: tuple[int, ...] = IMAGENET_MEAN_COLOR) -> np.ndarray:
        """`image` ``(H, W, 3)`` uint8 of the given frame, in the new one; border has the color `fill`."""
        self._check_size("image", image.shape[:2])
        return self._warped(image, fill) if self._paste is None else self._paste.pixels(image, fill)

    def label_map(self, label_map: Array, ignore: int) -> Array:
        """`label_map` ``(H, W)`` of the given frame, in the new one, by nearest; border is `ignore`."""
        self._check_size("label map", label_map.shape)
        if self._keeps_pixels:
            return label_map
        rows, columns, shown = self._sources()
        if isinstance(label_map, Tensor):
            device = label_map.device
            moved = label_map[torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)]
            return moved.masked_fill(~torch.from_numpy(shown).to(device), ignore)
        return np.where(shown, label_map[rows, columns], np.asarray(ignore, label_map.dtype))

    def camera(self, camera: Array) -> Array:
        """The intrinsic matrix `camera` ``(..., 3, 3)`` of the given frame, for the new one: ``A K``."""
        affine = np.array([*self.matrix, (0.0, 0.0, 1.0)])
        if isinstance(camera, Tensor):
            return torch.from_numpy(affine).to(camera) @ camera
        return (affine @ camera).astype(camera.dtype)

    def clip(self, boxes: Array) -> Array:
        """`boxes` ``(..., 4)`` of the new frame, cut at its edges."""
        height, width = self.size
        limits = (width, height, width, height)
        return _stacked([boxes[..., index].clip(0, limit) for index, limit in enumerate(limits)])

    def inverse(self) -> Placement:
        """From the new frame back to the given one."""
        matrix = self._inverse_matrix
        shown = clipped(moved_box(matrix, self.window), self.given_size)
        return Placement(matrix, self.given_size, self.size, shown)

    def then(self, following: Placement) -> Placement:
        """This placement and `following` after it, as one.

        Raises:
            ValueError: `following` starts from another size than this one ends with.
        """
        if following.given_size != self.size:
            raise ValueError(f"a placement into {self.size} cannot be followed by one from {following.given_size}")
        if self._keeps_pixels:
            return following
        (left, top, right, bottom), limits = moved_box(following.matrix, self.window), following.window
        left, top = max(left, limits[0]), max(top, limits[1])
        window = left, top, max(left, min(right, limits[2])), max(top, min(bottom, limits[3]))
        return Placement(product(following.matrix, self.matrix), following.size, self.given_size, window)

    def _check_size(self, what: str, size: tuple[int, ...]) -> None:
        if tuple(size) != tuple(self.given_size):
            raise ValueError(f"{what} of size {tuple(size)} in a placement from {tuple(self.given_size)}")

    @cached_property
    def _paste(self) -> Paste | None:
        """This placement as a rectangle of whole pixels on another one; None where it is not that."""
        if not self.is_axis_aligned:
            return None
        flip_x, flip_y = self.matrix[0][0] < 0, self.matrix[1][1] < 0
        (x1, y1, x2, y2), (height, width) = self.window, self.size
        part = whole(self.shown)
        # Where the rectangle lies before the frame is mirrored.
        place = whole(
            (
                width - x2 if flip_x else x1,
                height - y2 if flip_y else y1,
                width - x1 if flip_x else x2,
                height - y1 if flip_y else y2,
            )
        )
        if part is None or place is None or not are_near(moved_box(self.matrix, part), self.window):
            return None
        return Paste(part, place, self.size, (flip_x, flip_y))

    def _warped(self, pixels: np.ndarray, fill: tuple[int, ...]) -> np.ndarray:
        # OpenCV counts from the middle of the first pixel.
        half = Placement(((1.0, 0.0, 0.5), (0.0, 1.0, 0.5)), self.given_size, self.given_size)
        centers = np.array([*self.matrix, (0, 0, 1)]) @ np.array([*half.matrix, (0, 0, 1)])
        centers[:2, 2] -= 0.5
        height, width = self.size
        moved = cv2.warpAffine(
            pixels, centers[:2], (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT,
            borderValue=fill,
        )  # fmt: skip
        shown = self._in_window()
        return np.where(shown if pixels.ndim == 2 else shown[..., None], moved, np.array(fill, np.uint8))

    def _in_window(self) -> np.ndarray:
        """Which pixels ``(H, W)`` of the new frame have their middle in the window."""
        (x1, y1, x2, y2), (height, width) = self.window, self.size
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        return ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))

    def _sources(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of the given pixel under the middle of each new one, broadcast to ``(H, W)``, and whether
        there is one."""
        height, width = self.size
        x, y = (np.arange(width) + 0.5)[None], (np.arange(height) + 0.5)[:, None]
        (a, b, c), (d, e, f) = self.inverse().matrix
        along_x, along_y = (a * x + c, e * y + f) if self.is_axis_aligned else (a * x + b * y + c, d * x + e * y + f)
        columns, rows = (np.floor(values + 1e-9).astype(np.int64) for values in (along_x, along_y))
        inside = (rows >= 0) & (rows < self.given_size[0]) & (columns >= 0) & (columns < self.given_size[1])
        return np.where(inside, rows, 0), np.where(inside, columns, 0), inside & self._in_window()


def _reversed(ends: Array) -> Array:
    return ends.flip(-1) if isinstance(ends, Tensor) else ends[..., ::-1]


def _stacked(parts: list[Array]) -> Array:
    """Parts of one shape along a new last axis."""
    if isinstance(parts[0], Tensor):
        return torch.stack(parts, dim=-1)
    return np.concatenate([part[..., None] for part in parts], axis=-1)  # np.stack takes twice as long
