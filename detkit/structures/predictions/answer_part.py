"""`PartOf`, the kind of a field of a prediction that is a prediction itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from detkit.geometry import Placement
from detkit.structures.fields import Fields
from detkit.structures.kind import Kind, Swaps


@dataclass(frozen=True)
class PartOf(Kind):
    """Another prediction for the same image, which moves with it.

    Args:
        part: its type.
    """

    part: type[Fields]

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        if not isinstance(value, self.part):
            raise TypeError(f"{owner} must be {self.part.__name__}, got {type(value).__name__}")

    def to(self, value: Fields, device: torch.device | str) -> Fields:
        return value.to(device)

    def batch_to(self, values: Sequence[Fields], device: torch.device | str) -> Sequence[Fields]:
        return self.part.batch_to(values, device)

    def move(self, value: Fields, placement: Placement, swaps: Swaps) -> Fields:
        return value.moved(placement, swaps)
