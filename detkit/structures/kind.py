"""What a kind of field is asked: how its values are checked, selected, moved, sent and joined."""

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

Swaps = Sequence[tuple[int, int]]
Index = Tensor | slice
Mix = Literal["beside", "through", "pasted"]
"""How images become one: beside each other, one shining through the other, or objects of one pasted on the other."""

ALWAYS: frozenset[Mix] = frozenset({"beside", "through", "pasted"})


class Kind:
    """What one field is. Values are never None here: a field that is None stays None.

    The methods hold for a value that belongs to an image as a whole and does not lie in its pixels; a kind gives those
    that are otherwise for it.
    """

    per_object = False
    per_pixel = False
    mixes: frozenset[Mix] = frozenset()
    """The ways to make one image of several in which there is a value for that image; in others it becomes None."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        """Raise TypeError or ValueError where `value` is not as it must be.

        Args:
            owner: class and field, which begin the message.
            value: what the field holds.
            count: how many objects there are.
            counted: the field that tells so.
        """

    def image_size(self, value: Any) -> Size | None:
        """The (height, width) that the image must have; None for any."""
        return None

    def to(self, value: Any, device: torch.device | str) -> Any:
        """The same on `device`."""
        return to_device(value, device) if isinstance(value, Tensor) else value

    def select(self, value: Any, index: Index) -> Any:
        """What is left of it with the objects that `index` selects."""
        return value

    def move(self, value: Any, placement: Placement, swaps: Swaps) -> Any:
        """The same in another frame; `swaps` are the keypoints that a mirror exchanges."""
        return value

    def move_to_network(self, value: Any, placement: Placement) -> Any:
        """The same in the frame of a network's input."""
        return self.move(value, placement, ())

    def crop(self, value: Any, placement: Placement, swaps: Swaps, share: Tensor) -> Any:
        """As `move`, without what the new frame does not show; objects that are not seen keep their rows.

        Args:
            value: what the field holds.
            placement: how the image lies in the new frame.
            swaps: the keypoints that a mirror exchanges.
            share: ``(N,)`` float64, how much of each object is seen.
        """
        return self.move(value, placement, swaps)

    def cover(self, value: Any, cover: Tensor, share: Tensor) -> Any:
        """What of it is seen behind a `cover` ``(H, W)`` bool, which leaves a `share` ``(N,)`` of each object."""
        return value

    def to_warp(self, value: Any) -> Warped:
        """What of it must go through a transform that knows points and pixels alone, such as albumentations'."""
        return Warped()

    def from_warp(self, value: Any, warped: Warped, warp: Warp) -> Any:
        """The same behind such a transform.

        Args:
            value: what the field held before; of objects those that are left.
            warped: what `to_warp` gave, moved.
            warp: what else is known of the transform.

        Raises:
            InputError: only an affine map could take it along, and the transform is none.
        """
        if type(self).move is Kind.move:
            return value
        return self.move(value, warp.placement, warp.swaps)

    def pack(self, value: Any) -> Any:
        """The same without tensors, to be sent from a worker: a tensor takes a file descriptor, however small it is."""
        return value.numpy() if isinstance(value, Tensor) else value

    def unpack(self, parcel: Any) -> Any:
        """What was packed."""
        return torch.from_numpy(parcel) if isinstance(parcel, np.ndarray) else parcel

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Any:
        """One value for an image made of several, in one of the ways that it `mixes`.

        Args:
            name: of the field, for messages.
            values: of each image, in the pixels of the new one; None where it has none, but not in all.
            counts: of the objects of each image.

        Raises:
            InputError: some images have the field and others have not, and nothing can stand for what is missing.
        """
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Warped:
    """Points and pixels that go through a transform.

    Args:
        points: ``(N, P, 2)`` float64 x y in continuous pixels, P of each of N rows; NaN where the transform lost them.
        masks: ``(N, H, W)`` uint8, of which a pixel is 0 or 1, one for each object.
        pixels: ``(H, W)``, numbers that cannot be averaged, 0 where nothing is known.
    """

    points: np.ndarray | None = None
    masks: np.ndarray | None = None
    pixels: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Warp:
    """What is known of a transform that has moved pixels.

    Args:
        before: reference points ``(P, 2)`` of the image as it was, the first three no line.
        after: where they went; NaN where they were lost.
        given_size: (height, width) of the image as it was.
        size: (height, width) of the new one.
        swaps: the keypoints that a mirror exchanges.
        share: ``(N,)`` float64, how much of each object is seen.
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
        """By how much areas grow, negative where it mirrors; 1 where points were lost."""
        return float(np.nan_to_num(_signed_area(self.after) / _signed_area(self.before), nan=1.0))

    @cached_property
    def placement(self) -> Placement:
        """The transform as an affine map.

        Raises:
            InputError: it is none.
        """
        known = np.column_stack([self.before, np.ones(len(self.before))])
        if np.isfinite(self.after).all():
            matrix = np.linalg.lstsq(known, self.after, rcond=None)[0].T
            if np.abs(known @ matrix.T - self.after).max() < 0.05:  # pixels; points pass as float32
                (a, b, c), (d, e, f) = np.where(np.abs(matrix) < 1e-6, 0.0, matrix).tolist()
                return Placement(((a, b, c), (d, e, f)), self.size, self.given_size)
        raise InputError(
            f"augmentation.transforms bent image {self.image_id!r} by a map that is not affine, along which its "
            "camera, or what else has no points, cannot be taken: leave out the transforms that bend"
        )


def _signed_area(points: np.ndarray) -> float:
    """Twice the area of the triangle of the first three; its sign changes when it is mirrored."""
    (ax, ay), (bx, by) = points[1] - points[0], points[2] - points[0]
    return float(ax * by - ay * bx)


def to_device(value: Tensor, device: torch.device | str) -> Tensor:
    """`value` on `device`. Only a copy to the CPU is waited for: before it has ended the memory holds anything."""
    return value.to(device, non_blocking=torch.device(device).type != "cpu")


def check_tensor(owner: str, value: Any, dtype: torch.dtype, shape: tuple[int | str, ...], for_rows: str = "") -> None:
    """Raise TypeError or ValueError unless `value` is a tensor of `dtype` and `shape`.

    In `shape` a string names a size of any value. Messages begin with `owner` and say `for_rows` after the shape.
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
