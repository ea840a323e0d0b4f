"""Field kinds with one row per object: boxes, labels, areas, masks, keypoints, or numbers of any other meaning.

A field that is None is not annotated; an empty field means that there are no objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Placement, RowPlacements, Size
from detkit.ops import RunLengths, masks_to_rle, rle_to_masks
from detkit.structures.batch_moving import can_join, moved_rows, moves_as, rows_on, selected_rows
from detkit.structures.kind import ALWAYS, Index, Kind, Swaps, Warp, Warped, check_tensor


@dataclass(frozen=True)
class Rows(Kind):
    """A row of numbers for each object.

    Args:
        dtype: of the tensor.
        row: shape of a row; a string in it names a size of any value.
        absent: the value of a row where an image lacks the field; None if no value can stand for it.
    """

    dtype: torch.dtype
    row: tuple[int | str, ...] = ()
    absent: bool | int | float | None = None

    per_object = True
    mixes = ALWAYS

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, self.dtype, (count, *self.row), f" for {count} {counted}")

    def select(self, value: Tensor, index: Index) -> Tensor:
        return value[index]

    def batch_select(self, values: Sequence[Any], rows: Sequence[Sequence[int]]) -> Sequence[Any]:
        if can_join(values) and type(self).select is Rows.select:
            return selected_rows(values, rows)
        return super().batch_select(values, rows)

    def batch_to(self, values: Sequence[Any], device: torch.device | str) -> Sequence[Any]:
        if can_join(values) and type(self).to is Kind.to:
            return rows_on(values, device)
        return super().batch_to(values, device)

    def batch_to_network(
        self, values: Sequence[Tensor], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Tensor]:
        moved = [self.move_to_network(value, placement) for value, placement in zip(values, placements, strict=True)]
        if can_join(moved) and type(self).to is Kind.to:
            return rows_on(moved, device)
        return [self.to(value, device) for value in moved]

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Tensor:
        if self.absent is None and any(value is None for value in values):
            raise InputError(f"data.mixing: some images have {name} and some have none; read them all alike")
        row = next(value.shape[1:] for value in values if value is not None)
        fill = 0 if self.absent is None else self.absent  # None is refused above where a value is missing
        pairs = zip(values, counts, strict=True)
        return torch.cat(
            [torch.full((n, *row), fill, dtype=self.dtype) if value is None else value for value, n in pairs]
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

    def batch_to_network(
        self, values: Sequence[Tensor], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Tensor]:
        if moves_as(self, Boxes) and can_join(values) and RowPlacements.can_join(placements):
            return moved_rows(values, placements, device, RowPlacements.boxes)
        return super().batch_to_network(values, placements, device)

    def crop(self, value: Tensor, placement: Placement, swaps: Swaps, share: Tensor) -> Tensor:
        return visible_boxes(value, placement)

    def from_warp(self, value: Tensor, warped: Warped, warp: Warp) -> Tensor:
        return value  # the transform moves boxes itself


@dataclass(frozen=True)
class Areas(Rows):
    """``(N,)`` float32 in square pixels."""

    dtype: torch.dtype = torch.float32

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return value * placement.area_scale

    def move_to_network(self, value: Tensor, placement: Placement) -> Tensor:
        return value  # as annotated

    def crop(self, value: Tensor, placement: Placement, swaps: Swaps, share: Tensor) -> Tensor:
        # In numpy, as the boxes are: faster for a few objects.
        return torch.from_numpy(value.numpy() * share.numpy() * placement.area_scale)

    def cover(self, value: Tensor, cover: Tensor, share: Tensor) -> Tensor:
        return value * share

    def from_warp(self, value: Tensor, warped: Warped, warp: Warp) -> Tensor:
        return value * warp.share * abs(warp.determinant)


@dataclass(frozen=True)
class Keypoints(Rows):
    """``(N, J, 3)`` float32, ``x y`` in pixels and the visibility or score."""

    dtype: torch.dtype = torch.float32
    row: tuple[int | str, ...] = ("J", 3)

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        moved = torch.cat((placement.points(value[..., :2]), value[..., 2:]), dim=-1)
        return moved[:, mirrored_order(value.shape[1], swaps)] if placement.mirrors and swaps else moved

    def batch_to_network(
        self, values: Sequence[Tensor], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Tensor]:
        if moves_as(self, Keypoints) and can_join(values) and RowPlacements.can_join(placements):
            return moved_rows(values, placements, device, _moved_keypoints)
        return super().batch_to_network(values, placements, device)

    def crop(self, value: Tensor, placement: Placement, swaps: Swaps, share: Tensor) -> Tensor:
        x1, y1, x2, y2 = placement.visible_part
        inside = (value[..., :2] >= value.new_tensor((x1, y1))) & (value[..., :2] <= value.new_tensor((x2, y2)))
        moved = self.move(value, placement, ())
        return _settled(moved, inside.all(dim=-1), swaps if placement.mirrors else ())

    def cover(self, value: Tensor, cover: Tensor, share: Tensor) -> Tensor:
        """Keypoints behind `cover` become hidden."""
        height, width = cover.shape
        x, y = (value[..., axis].long().clamp(0, side - 1) for axis, side in enumerate((width, height)))
        hidden = cover[y, x] & (value[..., 2] > 0)
        return torch.cat((value[..., :2], torch.where(hidden, 1.0, value[..., 2])[..., None]), dim=-1)

    def to_warp(self, value: Tensor) -> Warped:
        return Warped(points=value[..., :2].numpy())

    def from_warp(self, value: Tensor, warped: Warped, warp: Warp) -> Tensor:
        height, width = warp.size
        moved = torch.cat((torch.from_numpy(warped.points).to(value), value[..., 2:]), dim=-1)
        inside = (moved[..., :2] >= 0) & (moved[..., :2] <= moved.new_tensor((width, height)))
        return _settled(moved, inside.all(dim=-1), warp.swaps if warp.determinant < 0 else ())


@dataclass(frozen=True)
class Masks(Kind):
    """``(N, H, W)`` bool at the size of the image, or the same as `RunLengths`, which stay on the CPU."""

    per_object = True
    mixes = ALWAYS

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
        return value[index]

    def move(self, value: Tensor | RunLengths, placement: Placement, swaps: Swaps) -> Tensor | RunLengths:
        if isinstance(value, Tensor):
            return placement.masks(value)
        return masks_to_rle(placement.masks(rle_to_masks(value)))

    def move_to_network(self, value: Tensor | RunLengths, placement: Placement) -> Tensor | RunLengths:
        return value  # heads crop them from the given image, through the inverse placement

    def cover(self, value: Tensor | RunLengths, cover: Tensor, share: Tensor) -> Tensor:
        return rle_to_masks(value) & ~cover

    def to_warp(self, value: Tensor | RunLengths) -> Warped:
        return Warped(masks=rle_to_masks(value).numpy().astype("uint8"))

    def from_warp(self, value: Tensor | RunLengths, warped: Warped, warp: Warp) -> Tensor:
        return torch.from_numpy(np.asarray(warped.masks, dtype=bool))

    def pack(self, value: Tensor | RunLengths) -> Any:
        runs = masks_to_rle(value)  # as pixels, hundreds of masks would fill the shared memory
        return runs.counts.numpy(), runs.offsets.numpy(), runs.height, runs.width

    def unpack(self, parcel: Any) -> RunLengths:
        counts, offsets, height, width = parcel
        return RunLengths(torch.from_numpy(counts), torch.from_numpy(offsets), height, width)

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Tensor:
        if any(value is None for value in values):
            raise InputError(f"data.mixing: some images have {name} and some have none; read them all alike")
        return torch.cat([rle_to_masks(value) for value in values])


def _moved_keypoints(placements: RowPlacements, keypoints: Tensor) -> Tensor:
    return torch.cat((placements.points(keypoints[..., :2]), keypoints[..., 2:]), dim=-1)


def mirrored_order(count: int, swaps: Swaps) -> list[int]:
    """The order of `count` keypoints after mirroring."""
    order = list(range(count))
    for one, other in swaps:
        order[one], order[other] = other, one
    return order


def visible_boxes(boxes: Tensor, placement: Placement) -> Tensor:
    """`boxes` ``(N, 4)`` on the CPU, clipped to the part that `placement` shows and moved into its new frame."""
    # In numpy: for the few boxes of an image torch takes three times as long.
    corners, (x1, y1, x2, y2) = boxes.numpy(), placement.visible_part
    low, high = np.array(((x1, y1, x1, y1), (x2, y2, x2, y2)), corners.dtype)
    return torch.from_numpy(placement.boxes(np.minimum(np.maximum(corners, low), high)))


def _settled(keypoints: Tensor, inside: Tensor, swaps: Swaps) -> Tensor:
    """Keypoints ``(N, J, 3)``, zero where outside or not annotated, with the pairs in `swaps` swapped."""
    keypoints = torch.where((inside & (keypoints[..., 2] > 0))[..., None], keypoints, 0.0)
    return keypoints[:, mirrored_order(keypoints.shape[1], swaps)] if swaps else keypoints
