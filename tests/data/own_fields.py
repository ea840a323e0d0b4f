"""What someone else's package declares: two fields more, and a data set that reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
from torch import Tensor

from detkit.data import COCO_READERS, CocoDataset, ImageNumbers, ObjectNumbers
from detkit.structures import Target
from detkit.structures.kind import ALWAYS, Kind, check_tensor
from detkit.structures.object_fields import Rows


@dataclass(frozen=True)
class Horizon(Kind):
    """``(2, 2)`` float32, two points of the horizon, x y in pixels."""

    mixes = frozenset({"pasted"})

    def check(self, owner, value, count, counted):
        check_tensor(owner, value, torch.float32, (2, 2))

    def move(self, value, placement, swaps):
        return placement.points(value)

    def join(self, name, values, counts):
        return values[0]


@dataclass(frozen=True)
class Weather(Kind):
    """An int of the image, whatever happens to its pixels; of several, that of the first."""

    mixes = ALWAYS

    def join(self, name, values, counts):
        return values[0]


@dataclass(frozen=True, eq=False)
class TrackedTarget(Target):
    """A target whose objects are those of other images."""

    track_ids: Annotated[Tensor | None, Rows(torch.int64)] = None
    horizon: Annotated[Tensor | None, Horizon()] = None
    weather: Annotated[int | None, Weather()] = None


class TrackedCoco(CocoDataset):
    """Reads the further fields from a COCO file."""

    target_class = TrackedTarget
    readers: ClassVar = {
        **COCO_READERS,
        "track_ids": ObjectNumbers("track_id"),
        "horizon": ImageNumbers("horizon", row=(2, 2)),
        "weather": ImageNumbers("weather", dtype="int64"),
    }
