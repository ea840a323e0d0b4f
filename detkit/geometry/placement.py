"""`Placement`: the affine map of an image into another frame, which moves all of its annotations.

Coordinates are continuous pixels: a frame of height H and width W spans ``[0, W] x [0, H]``, and the center of its
first pixel is ``(0.5, 0.5)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import cv2
import numpy as np
import torch
from torch import Tensor

from detkit.geometry.arrays import Array, reverse_last, stack_last
from detkit.geometry.axis_map import AxisMap
from detkit.geometry.camera_frames import moved_cameras
from detkit.geometry.pasting import Paste, flip, whole_flips
from detkit.geometry.rectangles import (
    Matrix,
    Rectangle,
    Size,
    are_near,
    clip_rectangle,
    move_rectangle,
    product,
    whole,
    whole_frame,
)

IMAGENET_MEAN_COLOR = (124, 116, 104)  # about zero once normalized
_COVERED = cast(Rectangle, None)  # `Placement` replaces it with what the moved frame covers


@dataclass(frozen=True)
class Placement:
    """An affine map from a given frame to a new one, exact where it is axis-aligned.

    A point ``(x, y)`` of the given frame is ``(a x + b y + c, d x + e y + f)`` in the new one. The methods take numpy
    arrays and tensors alike. Tensors stay on their device; moving boxes and points copies nothing to it.

    Args:
        matrix: ``((a, b, c), (d, e, f))``.
        size: (height, width) of the new frame.
        given_size: (height, width) of the given frame.
        window: the part ``x1 y1 x2 y2`` of the new frame that shows the given one; the rest is border. None: the part
            that the moved frame covers.
    """

    matrix: Matrix
    size: Size
    given_size: Size
    window: Rectangle = _COVERED

    def __post_init__(self) -> None:
        if self.window is None:
            height, width = self.given_size
            object.__setattr__(
                self, "window", clip_rectangle(move_rectangle(self.matrix, (0, 0, width, height)), self.size)
            )

    @classmethod
    def identity(cls, size: Size) -> Placement:
        """The placement that moves nothing."""
        return cls(((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)), size, size, whole_frame(size))

    @classmethod
    def resize(cls, given_size: Size, size: Size) -> Placement:
        """The whole frame resized to `size`."""
        (given_height, given_width), (height, width) = given_size, size
        return cls(((width / given_width, 0.0, 0.0), (0.0, height / given_height, 0.0)), size, given_size)

    @classmethod
    def part(cls, given_size: Size, part: Rectangle, destination: Rectangle, size: Size) -> Placement:
        """The rectangle `part` of the given frame resized into the rectangle `destination` of the new one, both
        ``x1 y1 x2 y2``; the rest of the given frame is not visible."""
        scale_x = (destination[2] - destination[0]) / (part[2] - part[0])
        scale_y = (destination[3] - destination[1]) / (part[3] - part[1])
        offsets = destination[0] - scale_x * part[0], destination[1] - scale_y * part[1]
        return cls(((scale_x, 0.0, offsets[0]), (0.0, scale_y, offsets[1])), size, given_size, destination)

    @classmethod
    def mirror(cls, size: Size, horizontal: bool, vertical: bool) -> Placement:
        """A horizontal flip, a vertical flip, or both."""
        height, width = size
        row_x = (-1.0, 0.0, float(width)) if horizontal else (1.0, 0.0, 0.0)
        row_y = (0.0, -1.0, float(height)) if vertical else (0.0, 1.0, 0.0)
        return cls((row_x, row_y), size, size, whole_frame(size))

    @property
    def is_axis_aligned(self) -> bool:
        """Whether boxes stay axis-aligned boxes."""
        return self.matrix[0][1] == 0 and self.matrix[1][0] == 0

    @property
    def is_identity(self) -> bool:
        """Whether nothing moves."""
        return self.matrix == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))

    @property
    def mirrors(self) -> bool:
        """Whether the map includes a reflection."""
        return self._determinant < 0

    @property
    def area_scale(self) -> float:
        """The factor of areas."""
        return abs(self._determinant)

    @cached_property
    def visible_part(self) -> Rectangle:
        """The part ``x1 y1 x2 y2`` of the given frame that the new one shows; whole pixels are exact."""
        part = clip_rectangle(move_rectangle(self._inverse_matrix, self.window), self.given_size)
        return whole(part) or part

    @property
    def has_border(self) -> bool:
        """Whether a part of the new frame is border."""
        return self.window != whole_frame(self.size)

    @cached_property
    def axes(self) -> tuple[AxisMap, AxisMap]:
        """The maps of x and of y where the placement is axis-aligned."""
        (a, _, c), (_, e, f) = self.matrix
        (x1, y1, x2, y2), part = self.window, self.visible_part
        return AxisMap.of(a, c, self.size[1], (part[0], part[2]), (x1, x2)), AxisMap.of(
            e, f, self.size[0], (part[1], part[3]), (y1, y2)
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
            along_x, along_y = self.axes
            return stack_last([along_x(x), along_y(y)])
        (a, b, c), (d, e, f) = self.matrix
        return stack_last([a * x + b * y + c, d * x + e * y + f])

    def boxes(self, boxes: Array) -> Array:
        """`boxes` ``(..., 4)`` x1 y1 x2 y2 of the given frame, in the new one: the smallest boxes around the moved
        ones. They are not clipped."""
        if self.is_identity:
            return boxes
        if self.is_axis_aligned:
            ends = [
                axis(reverse_last(boxes[..., first::2]) if axis.scale < 0 else boxes[..., first::2])
                for first, axis in enumerate(self.axes)
            ]
            return stack_last(ends).reshape(boxes.shape)
        x1, y1, x2, y2 = (boxes[..., index] for index in range(4))
        corners = self.points(stack_last([stack_last([x1, x2, x2, x1]), stack_last([y1, y1, y2, y2])]))
        if isinstance(corners, Tensor):
            return torch.cat((corners.amin(dim=-2), corners.amax(dim=-2)), dim=-1)
        return np.concatenate((corners.min(axis=-2), corners.max(axis=-2)), axis=-1)

    def masks(self, masks: Array) -> Array:
        """`masks` ``(N, H, W)`` bool of the given frame, in the new one; False in the border.

        Resampling is bilinear, by area averaging where masks shrink to less than half, then thresholded at 0.5. A
        tensor is moved on the CPU and returned to its device.
        """
        if isinstance(masks, Tensor):
            return torch.from_numpy(self.masks(np.asarray(masks.cpu()))).to(masks.device)
        self._check_size("masks", masks.shape[1:])
        if self._keeps_pixels:
            return masks
        if self._paste is not None:
            return self._paste.masks(masks)
        moved = [self._warped(mask.astype(np.uint8) * 255, (0,)) >= 128 for mask in masks]
        return np.asarray(moved, dtype=bool).reshape(len(masks), *self.size)

    def image(self, image: np.ndarray, fill: tuple[int, ...] = IMAGENET_MEAN_COLOR) -> np.ndarray:
        """`image` ``(H, W, 3)`` uint8 of the given frame, in the new one; the border has the color `fill`."""
        return flip(*self.unflipped_image(image, fill))

    def unflipped_image(
        self, image: np.ndarray, fill: tuple[int, ...] = IMAGENET_MEAN_COLOR
    ) -> tuple[np.ndarray, tuple[bool, bool]]:
        """As `image`, and whether the result is still to be flipped horizontally, and vertically."""
        self._check_size("image", image.shape[:2])
        if (flips := whole_flips(self)) is not None:  # the most common placement, and the fastest
            return image, flips
        if self._paste is None:
            return self._warped(image, fill), (False, False)
        return self._paste.unflipped(image, fill), self._paste.flips

    def label_map(self, label_map: Array, ignore: int) -> Array:
        """`label_map` ``(..., H, W)`` of the given frame in the new one, by nearest neighbor; border is `ignore`."""
        self._check_size("label map", label_map.shape[-2:])
        if self._keeps_pixels:
            return label_map
        rows, columns, visible = self._sources()
        if isinstance(label_map, Tensor):
            device = label_map.device
            moved = label_map[..., torch.from_numpy(rows).to(device), torch.from_numpy(columns).to(device)]
            return moved.masked_fill(~torch.from_numpy(visible).to(device), ignore)
        return np.where(visible, label_map[..., rows, columns], np.asarray(ignore, label_map.dtype))

    def camera(self, camera: Array) -> Array:
        """The intrinsic matrix `camera` ``(..., 3, 3)`` for the new frame; see `geometry.camera_frames`."""
        return moved_cameras(camera.reshape(-1, 3, 3), [self.matrix]).reshape(camera.shape)

    def clip(self, boxes: Array) -> Array:
        """`boxes` ``(..., 4)`` of the new frame, clipped to it."""
        height, width = self.size
        limits = (width, height, width, height)
        return stack_last([boxes[..., index].clip(0, limit) for index, limit in enumerate(limits)])

    def inverse(self) -> Placement:
        """The placement from the new frame back to the given one."""
        matrix = self._inverse_matrix
        window = clip_rectangle(move_rectangle(matrix, self.window), self.given_size)
        return Placement(matrix, self.given_size, self.size, window)

    def then(self, following: Placement) -> Placement:
        """The composition of this placement and `following` after it.

        Raises:
            ValueError: `following` does not start from the size that this one ends with.
        """
        if following.given_size != self.size:
            raise ValueError(f"a placement into {self.size} cannot be followed by one from {following.given_size}")
        if self._keeps_pixels:
            return following
        (left, top, right, bottom), limits = move_rectangle(following.matrix, self.window), following.window
        left, top = max(left, limits[0]), max(top, limits[1])
        window = left, top, max(left, min(right, limits[2])), max(top, min(bottom, limits[3]))
        return Placement(product(following.matrix, self.matrix), following.size, self.given_size, window)

    def _check_size(self, what: str, size: tuple[int, ...]) -> None:
        if tuple(size) != tuple(self.given_size):
            raise ValueError(f"{what} of size {tuple(size)} in a placement from {tuple(self.given_size)}")

    @cached_property
    def _paste(self) -> Paste | None:
        """This placement as a `Paste` of whole pixels; None where it is none."""
        if not self.is_axis_aligned:
            return None
        flip_x, flip_y = self.matrix[0][0] < 0, self.matrix[1][1] < 0
        (x1, y1, x2, y2), (height, width) = self.window, self.size
        part = whole(self.visible_part)
        # Where the rectangle lies before the frame is flipped.
        left, right = (width - x2, width - x1) if flip_x else (x1, x2)
        top, bottom = (height - y2, height - y1) if flip_y else (y1, y2)
        destination = whole((left, top, right, bottom))
        if part is None or destination is None or not are_near(move_rectangle(self.matrix, part), self.window):
            return None
        return Paste(part, destination, self.size, (flip_x, flip_y))

    def _warped(self, pixels: np.ndarray, fill: tuple[int, ...]) -> np.ndarray:
        # OpenCV's origin is the center of the first pixel.
        half = Placement(((1.0, 0.0, 0.5), (0.0, 1.0, 0.5)), self.given_size, self.given_size)
        centers = np.array([*self.matrix, (0, 0, 1)]) @ np.array([*half.matrix, (0, 0, 1)])
        centers[:2, 2] -= 0.5
        linear, constant = cv2.INTER_LINEAR, cv2.BORDER_CONSTANT
        moved = cv2.warpAffine(pixels, centers[:2], self.size[::-1], None, linear, constant, fill)
        visible = self._in_window()
        return np.where(visible if pixels.ndim == 2 else visible[..., None], moved, np.array(fill, np.uint8))

    def _in_window(self) -> np.ndarray:
        """Which pixels ``(H, W)`` of the new frame have their center in the window."""
        (x1, y1, x2, y2), (height, width) = self.window, self.size
        x, y = np.arange(width) + 0.5, np.arange(height) + 0.5
        return ((y >= y1) & (y < y2))[:, None] & ((x >= x1) & (x < x2))

    def _sources(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Row and column of the given pixel under the center of each new one, broadcastable to ``(H, W)``, and whether
        it exists."""
        height, width = self.size
        x, y = (np.arange(width) + 0.5)[None], (np.arange(height) + 0.5)[:, None]
        (a, b, c), (d, e, f) = self.inverse().matrix
        along_x, along_y = (a * x + c, e * y + f) if self.is_axis_aligned else (a * x + b * y + c, d * x + e * y + f)
        columns, rows = (np.floor(values + 1e-9).astype(np.int64) for values in (along_x, along_y))
        inside = (rows >= 0) & (rows < self.given_size[0]) & (columns >= 0) & (columns < self.given_size[1])
        return np.where(inside, rows, 0), np.where(inside, columns, 0), inside & self._in_window()
