"""`Kind`, the base class of field kinds: how values of a field are checked, selected, moved, packed and joined."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.structures.device_transfer import to_device

Swaps = Sequence[tuple[int, int]]
Index = Tensor | slice
Mix = Literal["beside", "through", "pasted"]
"""Ways to mix images: side by side (mosaic), blended (mixup), or with objects of one pasted onto another."""

ALWAYS: frozenset[Mix] = frozenset({"beside", "through", "pasted"})


class Kind:
    """The kind of a field. Its methods never get None: a field that is None stays None.

    The defaults suit a value of the image as a whole that does not depend on its pixels; subclasses override the rest.
    """

    per_object = False
    per_pixel = False
    mixes: frozenset[Mix] = frozenset()
    """The ways of mixing images that keep the field; with others it becomes None."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        """Raise TypeError or ValueError if `value` has the wrong type, dtype or shape.

        Args:
            owner: class and field, with which the message begins.
            value: of the field.
            count: the number of objects.
            counted: the field that the number comes from.
        """

    def count(self, value: Any) -> int:
        """The number of objects that a `value` per object is of."""
        shape = getattr(value, "shape", None)
        return shape[0] if shape else 0

    def image_size(self, value: Any) -> Size | None:
        """The (height, width) that `value` requires of the image; None: any."""
        return None

    def to(self, value: Any, device: torch.device | str) -> Any:
        """`value` on `device`."""
        return to_device(value, device) if isinstance(value, Tensor) else value

    def batch_to(self, values: Sequence[Any], device: torch.device | str) -> Sequence[Any]:
        """`values` of several images on `device`. A kind overrides it to move all of them in one transfer."""
        return [self.to(value, device) for value in values]

    def select(self, value: Any, index: Index) -> Any:
        """`value` for the objects that `index` selects."""
        return value

    def batch_select(self, values: Sequence[Any], rows: Sequence[Sequence[int]]) -> Sequence[Any]:
        """`values` of several images on the CPU, each for the objects at its `rows`. A kind overrides it to select of
        all of them at once."""
        return [
            self.select(value, torch.tensor(own, dtype=torch.int64)) for value, own in zip(values, rows, strict=True)
        ]

    def move(self, value: Any, placement: Placement, swaps: Swaps) -> Any:
        """`value` in the coordinates of another frame; `swaps` are the pairs of keypoints that a mirror swaps."""
        return value

    def move_to_network(self, value: Any, placement: Placement) -> Any:
        """`value` in the frame of a network's input."""
        return self.move(value, placement, ())

    def batch_to_network(
        self, values: Sequence[Any], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Any]:
        """`values` of several images in the frame of a network's input, each by its placement, on `device`.

        A kind overrides it to move all of them at once, with a number of operations that does not grow with theirs.
        """
        pairs = zip(values, placements, strict=True)
        return [self.to(self.move_to_network(value, placement), device) for value, placement in pairs]

    def crop(self, value: Any, placement: Placement, swaps: Swaps, share: Tensor) -> Any:
        """As `move`, clipped to the new frame; objects outside of it keep their rows.

        Args:
            value: of the field.
            placement: the placement of the image in the new frame.
            swaps: pairs of keypoints that a mirror swaps.
            share: ``(N,)`` float64 in [0, 1], the visible share of each object.
        """
        return self.move(value, placement, swaps)

    def cover(self, value: Any, cover: Tensor, share: Tensor) -> Any:
        """`value` where the pixels of `cover` ``(H, W)`` bool are hidden, which leaves a `share` ``(N,)`` of each
        object."""
        return value

    def to_warp(self, value: Any) -> Warped:
        """The points and pixels of `value` to pass through a transform such as albumentations'."""
        return Warped()

    def from_warp(self, value: Any, warped: Warped, warp: Warp) -> Any:
        """`value` after such a transform.

        Args:
            value: of the field before, for the remaining objects.
            warped: the transformed result of `to_warp`.
            warp: what else is known of the transform.

        Raises:
            InputError: the field can only follow an affine map, and the transform is not affine.
        """
        if type(self).move is Kind.move:
            return value
        return self.move(value, warp.placement, warp.swaps)

    def pack(self, value: Any) -> Any:
        """`value` without tensors, to be sent from a worker: each tensor would take a file descriptor."""
        return value.numpy() if isinstance(value, Tensor) else value

    def unpack(self, parcel: Any) -> Any:
        """The reverse of `pack`."""
        return torch.from_numpy(parcel) if isinstance(parcel, np.ndarray) else parcel

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Any:
        """The value for an image that is mixed from several, in one of the ways in `mixes`.

        Args:
            name: of the field, for messages.
            values: one per image, in the pixels of the new image; None where an image lacks the field, but not all.
            counts: the number of objects of each image.

        Raises:
            InputError: some images lack the field, and no value can stand for it.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Warped:
    """Points and pixels that pass through a transform.

    Args:
        points: ``(N, P, 2)`` float64, ``x y`` in continuous pixels of P points per row; NaN where the transform dropped
            them.
        masks: ``(N, H, W)`` uint8 in {0, 1}, one per object.
        pixels: ``(H, W)`` or ``(H, W, C)``, categorical values, 0 where unknown.
    """

    points: np.ndarray | None = None
    masks: np.ndarray | None = None
    pixels: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Warp:
    """A transform that has moved the pixels of an image, as observed from outside.

    Args:
        before: reference points ``(P, 2)`` of the image before, the first three not collinear.
        after: the same points after the transform; NaN where it dropped them.
        given_size: (height, width) of the image before.
        size: (height, width) of the image after.
        swaps: pairs of keypoints that a mirror swaps.
        share: ``(N,)`` float64 in [0, 1], the visible share of each object.
        image_id: for messages.
    """

    before: np.ndarray
    after: np.ndarray
    given_size: Size
    size: Size
    swaps: Swaps
    share: Tensor
    image_id: Any

    @cached_property
    def determinant(self) -> float:
        """The factor of areas, negative if the transform mirrors; 1 where points were dropped."""
        return float(np.nan_to_num(_signed_area(self.after) / _signed_area(self.before), nan=1.0))

    @cached_property
    def placement(self) -> Placement:
        """The transform as an affine map.

        Raises:
            InputError: it is not affine.
        """
        known = np.column_stack([self.before, np.ones(len(self.before))])
        if np.isfinite(self.after).all():
            matrix = np.linalg.lstsq(known, self.after, rcond=None)[0].T
            if np.abs(known @ matrix.T - self.after).max() < 0.05:  # pixels; points pass as float32
                (a, b, c), (d, e, f) = np.where(np.abs(matrix) < 1e-6, 0.0, matrix).tolist()
                return Placement(((a, b, c), (d, e, f)), self.size, self.given_size)
        raise InputError(
            f"augmentation.transforms moved image {self.image_id!r} by a map that is not affine, which its camera, or "
            "another field without points, cannot follow: leave out the transforms that are not affine"
        )


def _signed_area(points: np.ndarray) -> float:
    """Twice the area of the triangle of the first three points, with the sign of its orientation."""
    (ax, ay), (bx, by) = points[1] - points[0], points[2] - points[0]
    return float(ax * by - ay * bx)


def check_tensor(owner: str, value: Any, dtype: torch.dtype, shape: tuple[int | str, ...], for_rows: str = "") -> None:
    """Raise TypeError or ValueError unless `value` is a tensor of `dtype` and `shape`.

    A string in `shape` names a size of any value. Messages begin with `owner` and have `for_rows` after the shape.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner} must be a tensor, got {type(value).__name__}")
    if value.dtype != dtype:
        raise TypeError(f"{owner} must be {dtype}, got {value.dtype}")
    if not _fits(tuple(value.shape), shape):
        expected = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
        raise ValueError(f"{owner} must have shape {expected}{for_rows}, got {tuple(value.shape)}")


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...]) -> bool:
    if len(shape) != len(expected):
        return False
    for have, want in zip(shape, expected, strict=True):  # noqa: SIM110 (half as fast; every target passes here often)
        if have != want and not isinstance(want, str):
            return False
    return True
