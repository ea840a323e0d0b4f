"""Field kinds with one value per image: label and panoptic maps, cameras, proposals, the class of the image.

A field that is None is not annotated; an empty field means that nothing is there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Placement, RowPlacements, Size, moved_cameras
from detkit.structures.batch_moving import can_join, moved_rows, moves_as
from detkit.structures.device_transfer import stacked_on
from detkit.structures.kind import ALWAYS, Kind, Swaps, Warp, Warped, check_tensor
from detkit.structures.object_fields import visible_boxes

IGNORE_INDEX = {torch.uint8: 255, torch.int16: -1, torch.int32: -1}
"""The value of pixels without a class in a label map, by its dtype; int32 is of panoptic maps."""

INSTANCES = 65536
"""A panoptic map holds ``label * INSTANCES + instance``."""


def label_map_dtype(num_classes: int) -> torch.dtype:
    """The dtype of label maps of so many classes: uint8 holds 254 and the ignore value."""
    return torch.uint8 if num_classes <= 254 else torch.int16


@dataclass(frozen=True)
class LabelMap(Kind):
    """``(H, W)``, the class of each pixel: uint8 with 255 for none, or int16 with -1."""

    per_pixel = True
    mixes = frozenset({"beside", "pasted"})

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        dtype = value.dtype if isinstance(value, Tensor) and value.dtype in (torch.uint8, torch.int16) else torch.uint8
        check_tensor(owner, value, dtype, ("H", "W"))

    def image_size(self, value: Tensor) -> Size:
        return value.shape[0], value.shape[1]

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return placement.label_map(value, self.outside(value.dtype))

    def outside(self, dtype: torch.dtype) -> int:
        """The value of pixels that are not annotated, such as those outside of the image."""
        return IGNORE_INDEX[dtype]

    def batch_to_network(
        self, values: Sequence[Tensor], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Tensor]:
        """All at once where one placement moves them all; on `device`, which looks up pixels faster."""
        if not (moves_as(self, LabelMap) and can_join(values) and len(set(map(len, values))) == 1):
            return super().batch_to_network(values, placements, device)
        if any(placement != placements[0] for placement in placements):
            return super().batch_to_network(values, placements, device)
        return list(self.move_to_network(stacked_on(values, device), placements[0]))

    def cover(self, value: Tensor, cover: Tensor, share: Tensor) -> Tensor:
        return value.masked_fill(cover, self.outside(value.dtype))

    def to_warp(self, value: Tensor) -> Warped:
        # Shifted by one, since transforms fill with 0: no class may be 0.
        return Warped(pixels=(value + 1).numpy())

    def from_warp(self, value: Tensor, warped: Warped, warp: Warp) -> Tensor:
        pixels: Tensor = torch.from_numpy(warped.pixels)
        return pixels.to(value.dtype) - 1

    def join(self, name: str, values: Sequence[Tensor | None], counts: Sequence[int]) -> Tensor:
        """Each map over those before it, except where it is ignored."""
        joined, *others = [value for value in values if value is not None]
        for value in others:
            joined = torch.where(value != self.outside(value.dtype), value, joined)
        return joined


@dataclass(frozen=True)
class PanopticIds(LabelMap):
    """``(H, W)`` int32, the class and the instance of each pixel: ``label * 65536 + instance``, -1 for none.

    Stuff has the instance 0; a thing with the instance 0 belongs to a crowd.
    """

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, torch.int32, ("H", "W"))

    def to_warp(self, value: Tensor) -> Warped:
        # As four channels of bytes, since OpenCV warps no int32.
        return Warped(pixels=(value + 1).contiguous().numpy().view(np.uint8).reshape(*value.shape, 4))

    def from_warp(self, value: Tensor, warped: Warped, warp: Warp) -> Tensor:
        pixels: Tensor = torch.from_numpy(np.ascontiguousarray(warped.pixels).view(np.int32)[..., 0])
        return pixels - 1

    def join(self, name: str, values: Sequence[Tensor | None], counts: Sequence[int]) -> Tensor:
        """Each map over those before it, except where it is ignored, with new numbers for its instances.

        Raises:
            InputError: there are too many instances to number.
        """
        joined, *others = [value for value in values if value is not None]
        last = _last_instance(joined)
        for value in others:
            own = _last_instance(value)
            if last + own >= INSTANCES:
                raise InputError(
                    f"data.mixing: the images have {last + own} instances in {name}, which holds {INSTANCES - 1}: mix "
                    "fewer images"
                )
            is_instance = (value >= 0) & (value % INSTANCES > 0)
            joined = torch.where(value >= 0, value + is_instance.int() * last, joined)
            last += own
        return joined


@dataclass(frozen=True)
class PixelWeights(LabelMap):
    """``(H, W)`` float32, a factor of the loss of each pixel, at least 0; 0 outside of the image."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, torch.float32, ("H", "W"))

    def outside(self, dtype: torch.dtype) -> int:
        return 0

    def to_warp(self, value: Tensor) -> Warped:
        return Warped(pixels=value.numpy())

    def from_warp(self, value: Tensor, warped: Warped, warp: Warp) -> Tensor:
        pixels: Tensor = torch.from_numpy(warped.pixels)
        return pixels.to(value.dtype)

    def join(self, name: str, values: Sequence[Tensor | None], counts: Sequence[int]) -> Tensor:
        """Those of each image where it is.

        Raises:
            InputError: an image has none, whose pixels would then teach nothing.
        """
        if any(value is None for value in values):
            raise InputError(f"data.mixing: some images have {name} and some have none; read them all alike")
        return super().join(name, values, counts)


@dataclass(frozen=True)
class Camera(Kind):
    """``(3, 3)`` float32, the intrinsic matrix from camera coordinates to homogeneous pixels.

    Where an image is mirrored or turned, so is the camera frame, and focal lengths stay positive; see
    `geometry.camera_frames`.
    """

    mixes = frozenset({"pasted"})

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, torch.float32, (3, 3))

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return placement.camera(value)

    def batch_to_network(
        self, values: Sequence[Tensor], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Tensor]:
        if not (moves_as(self, Camera) and can_join(values)):
            return super().batch_to_network(values, placements, device)
        return list(moved_cameras(stacked_on(values, device), [one.matrix for one in placements]))

    def join(self, name: str, values: Sequence[Tensor | None], counts: Sequence[int]) -> Tensor | None:
        """The camera of the image that objects of others were pasted on."""
        return values[0]


@dataclass(frozen=True)
class RegionBoxes(Kind):
    """``(P, 4)`` float32, region proposals ``x1 y1 x2 y2`` in pixels, independent of the objects."""

    mixes = ALWAYS

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        check_tensor(owner, value, torch.float32, ("P", 4))

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        return placement.boxes(value)

    def batch_to_network(
        self, values: Sequence[Tensor], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Tensor]:
        if moves_as(self, RegionBoxes) and can_join(values) and RowPlacements.can_join(placements):
            return moved_rows(values, placements, device, RowPlacements.boxes)
        return super().batch_to_network(values, placements, device)

    def crop(self, value: Tensor, placement: Placement, swaps: Swaps, share: Tensor) -> Tensor:
        return _with_area(visible_boxes(value, placement))

    def to_warp(self, value: Tensor) -> Warped:
        return Warped(points=value[:, [[0, 1], [2, 1], [2, 3], [0, 3]]].numpy())

    def from_warp(self, value: Tensor, warped: Warped, warp: Warp) -> Tensor:
        corners = torch.from_numpy(warped.points).to(value)
        height, width = warp.size
        boxes = torch.cat((corners.amin(dim=1), corners.amax(dim=1)), dim=1)
        return _with_area(
            boxes[boxes.isfinite().all(dim=1)].clamp(boxes.new_zeros(4), boxes.new_tensor((width, height) * 2))
        )

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Tensor:
        if any(value is None for value in values):
            raise InputError(f"data.mixing: some images have {name} and some have none; read them all alike")
        return torch.cat(list(values))


@dataclass(frozen=True)
class ClassOfImage(Kind):
    """An int, the class of the image as a whole."""

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        if type(value) is not int:
            raise TypeError(f"{owner} must be an int, got {type(value).__name__}")


@dataclass(frozen=True)
class Identity(Kind):
    """The id of the image; an image made of several gets the id of the first."""

    mixes = ALWAYS

    def join(self, name: str, values: Sequence[Any], counts: Sequence[int]) -> Any:
        return values[0]


def _last_instance(value: Tensor) -> int:
    """The largest number of an instance in a panoptic map."""
    return int(torch.where(value >= 0, value % INSTANCES, 0).max()) if value.numel() else 0


def _with_area(boxes: Tensor) -> Tensor:
    return boxes[(boxes[:, 2:] > boxes[:, :2]).all(dim=1)]
