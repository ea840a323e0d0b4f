"""The kinds of field that targets and answers are made of: what each is for, and how it is checked, moved and sent.

Fields are *per object*, one row for each; *per pixel*, at the size of the image; or *per image*. A field that is None
is not annotated; one that is empty says that there is nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.ops import RunLengths, masks_to_rle, rle_to_masks

Swaps = Sequence[tuple[int, int]]
Index = Tensor | slice

IGNORE_INDEX = {torch.uint8: 255, torch.int16: -1}
"""What a label map says, by its dtype, of a pixel that is no class."""


class Kind:
    """What one field is. Values are never None here: a field that is None stays None."""

    per_object = False

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        """Raise TypeError or ValueError where `value` is not as it must be.

        Args:
            owner: class and field, which begin the message.
            value: what the field holds.
            count: how many objects there are.
            counted: the field that tells so.
        """
        raise NotImplementedError

    def image_size(self, value: Any) -> Size | None:
        """The (height, width) that the image must have; None for any."""
        return None

    def to(self, value: Any, device: torch.device | str) -> Any:
        """The same on `device`."""
        return value.to(device, non_blocking=True) if isinstance(value, Tensor) else value

    def select(self, value: Any, index: Index) -> Any:
        """What is left of it with the objects that `index` selects."""
        return value

    def move(self, value: Any, placement: Placement, swaps: Swaps) -> Any:
        """The same in another frame; `swaps` are the keypoints that a mirror exchanges."""
        return value

    def move_to_network(self, value: Any, placement: Placement) -> Any:
        """The same in the frame of a network's input."""
        return self.move(value, placement, ())

    def pack(self, value: Any) -> Any:
        """The same without tensors, to be sent from a worker: a tensor takes a file descriptor, however small it is."""
        return value.numpy() if isinstance(value, Tensor) else value

    def unpack(self, parcel: Any) -> Any:
        """What was packed."""
        return torch.from_numpy(parcel) if isinstance(parcel, np.ndarray) else parcel

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Any:
        """One value for an image made of several.

        Args:
            name: of the field, for messages.
            values: of each image, in the pixels of the new one; None where it has none, but not in all.
            counts: of the objects of each image.

        Raises:
            InputError: some images have the field and others have not, and nothing can stand for what is missing.
        """
        return None


@dataclass(frozen=True)
class Rows(Kind):
    """A row of numbers for each object.

    Args:
        dtype: of the tensor.
        row: shape of a row, in which a string names a size of any value.
        absent: what stands in a row of an image without the field; None where nothing can.
    """

    dtype: torch.dtype
    row: tuple[int | str, ...] = ()
    absent: bool | None = None

    per_object = True

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, self.dtype, (count, *self.row), f" for {count} {counted}")

    def select(self, value: Tensor, index: Index) -> Tensor:
        return value[index]

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Tensor:
        if self.absent is None and any(value is None for value in values):
            raise InputError(f"data.mixing: some pictures have {name} and some have none; read them all alike")
        pairs = zip(values, counts, strict=True)
        return torch.cat(
            [torch.full((n,), self.absent, dtype=self.dtype) if value is None else value for value, n in pairs]
        )


@dataclass(frozen=True)
class Boxes(Rows):
    """``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels."""

    dtype: torch.dtype = torch.float32
    row: tuple[int | str, ...] = (4,)

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        if owner.endswith(f".{counted}"):
            check_tensor(owner, value, self.dtype, ("N", 4))
        else:
            super().check(owner, value, count, counted)

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return placement.boxes(value)


@dataclass(frozen=True)
class Areas(Rows):
    """``(N,)`` float32 in square pixels."""

    dtype: torch.dtype = torch.float32

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return value * placement.area_scale

    def move_to_network(self, value: Tensor, placement: Placement) -> Tensor:
        return value  # as annotated


@dataclass(frozen=True)
class Keypoints(Rows):
    """``(N, J, 3)`` float32, ``x y`` in pixels and what is said of the point."""

    dtype: torch.dtype = torch.float32
    row: tuple[int | str, ...] = ("J", 3)

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        moved = torch.cat((placement.points(value[..., :2]), value[..., 2:]), dim=-1)
        return moved[:, swapped(value.shape[1], swaps)] if placement.mirrors and swaps else moved


@dataclass(frozen=True)
class Masks(Kind):
    """``(N, H, W)`` bool at the size of the image, or the same as `RunLengths`, which stay on the CPU."""

    per_object = True

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        if isinstance(value, Tensor):
            check_tensor(owner, value, torch.bool, (count, "H", "W"), f" for {count} {counted}")
        elif not isinstance(value, RunLengths):
            raise TypeError(f"{owner} must be a bool tensor or RunLengths, got {type(value).__name__}")
        elif len(value) != count:
            raise ValueError(f"{owner} must be {count}, one for each box, got {len(value)}")

    def image_size(self, value: Tensor | RunLengths) -> Size:
        return value.shape[1], value.shape[2]

    def select(self, value: Tensor | RunLengths, index: Index) -> Tensor | RunLengths:
        on_cpu = isinstance(index, Tensor) and not isinstance(value, Tensor)
        return value[index.cpu() if on_cpu else index]

    def move(self, value: Tensor | RunLengths, placement: Placement, swaps: Swaps) -> Tensor | RunLengths:
        if isinstance(value, Tensor):
            return placement.masks(value)
        return masks_to_rle(placement.masks(rle_to_masks(value)))

    def move_to_network(self, value: Tensor | RunLengths, placement: Placement) -> Tensor | RunLengths:
        return value  # heads crop them where they are, through the inverse placement

    def pack(self, value: Tensor | RunLengths) -> Any:
        runs = masks_to_rle(value)  # hundreds of masks as pixels would fill the memory that processes share
        return runs.counts.numpy(), runs.offsets.numpy(), runs.height, runs.width

    def unpack(self, parcel: Any) -> RunLengths:
        counts, offsets, height, width = parcel
        return RunLengths(torch.from_numpy(counts), torch.from_numpy(offsets), height, width)

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Tensor:
        if any(value is None for value in values):
            raise InputError(f"data.mixing: some pictures have {name} and some have none; read them all alike")
        return torch.cat([rle_to_masks(value) for value in values])


@dataclass(frozen=True)
class LabelMap(Kind):
    """``(H, W)``, the class of each pixel: uint8 with 255 for none, or int16 with -1."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        dtype = value.dtype if isinstance(value, Tensor) and value.dtype in IGNORE_INDEX else torch.uint8
        check_tensor(owner, value, dtype, ("H", "W"))

    def image_size(self, value: Tensor) -> Size:
        return value.shape[0], value.shape[1]

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return placement.label_map(value, IGNORE_INDEX[value.dtype])

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Tensor:
        """Each map over those before it, where it says something."""
        first, *others = [value for value in values if value is not None]
        for value in others:
            first = torch.where(value != IGNORE_INDEX[value.dtype], value, first)
        return first


@dataclass(frozen=True)
class Camera(Kind):
    """``(3, 3)`` float32, the intrinsic matrix from camera coordinates to homogeneous pixels."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, torch.float32, (3, 3))

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return placement.camera(value)


@dataclass(frozen=True)
class Regions(Kind):
    """``(P, 4)`` float32, regions of an image ``x1 y1 x2 y2`` in pixels, whatever its objects."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, torch.float32, ("P", 4))

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return placement.boxes(value)


@dataclass(frozen=True)
class ClassOfImage(Kind):
    """An int, the class of an image as a whole."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        if type(value) is not int:
            raise TypeError(f"{owner} must be an int, got {type(value).__name__}")


@dataclass(frozen=True)
class Identity(Kind):
    """What an image is called; one that is made of several has the name of the first."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        pass

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Any:
        return values[0]


def swapped(count: int, swaps: Swaps) -> list[int]:
    """The order of `count` keypoints in a mirror."""
    order = list(range(count))
    for one, other in swaps:
        order[one], order[other] = other, one
    return order


def check_tensor(owner: str, value: Any, dtype: torch.dtype, shape: tuple[int | str, ...], for_rows: str = "") -> None:
    """Raise TypeError or ValueError unless `value` is a tensor of `dtype` and `shape`.

    In `shape` a string names a size of any value. Messages begin with `owner` and say `for_rows` after the shape.
    """
    if not isinstance(value, Tensor):
        raise TypeError(f"{owner} must be a tensor, got {type(value).__name__}")
    if value.dtype != dtype:
        raise TypeError(f"{owner} must be {dtype}, got {value.dtype}")
    fits = value.ndim == len(shape) and all(
        isinstance(want, str) or want == have for want, have in zip(shape, value.shape, strict=True)
    )
    if not fits:
        wanted = f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
        raise ValueError(f"{owner} must have shape {wanted}{for_rows}, got {tuple(value.shape)}")
