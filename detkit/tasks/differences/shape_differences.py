"""`ShapeDifferences`: the voxels of the objects of images."""

from __future__ import annotations

from typing import Any

import torch

from detkit.structures import ObjectShape
from detkit.tasks.differences.answer_differences import AnswerDifferences, DifferenceCollector, Largest, LargestOf

PROBABILITIES = 1e-3
"""What rounding may change."""


class ShapeDifferences(DifferenceCollector):
    """Compares the probabilities of voxels of the same images, and the numbers of faces.

    Args:
        tolerance: how many times as much as in float32 rounding may change.
    """

    def __init__(self, tolerance: float = 1.0) -> None:
        self.limit = PROBABILITIES * tolerance
        self.largest = LargestOf()
        self.images = self.voxels = self.other_mesh = 0

    def add(self, image_id: Any, size: tuple[int, int], expected: ObjectShape, given: ObjectShape) -> None:
        """See `DifferenceCollector.add`."""
        self.images += 1
        self.other_mesh += not torch.equal(expected.meshes.faces.cpu(), given.meshes.faces.cpu())
        own, theirs = (torch.zeros(0) if one.voxels is None else one.voxels.cpu() for one in (expected, given))
        self.voxels += own.numel()
        if own.shape != theirs.shape:
            where = f"{tuple(theirs.shape)} voxels in place of {tuple(own.shape)}"
            self.largest.add(Largest("voxels", 1.0, "", self.limit, image_id, where), max(1, own.numel()))
            return
        if not own.numel():
            return
        difference = (own - theirs).abs().flatten()
        beyond = int((~(difference <= self.limit)).sum())
        place = int(difference.nan_to_num(nan=torch.inf).argmax())
        cell = ", ".join(str(int(one)) for one in torch.unravel_index(torch.tensor(place), own.shape)[1:])
        where = f"{float(theirs.flatten()[place]):.3f} in place of {float(own.flatten()[place]):.3f} at ({cell})"
        self.largest.add(Largest("voxels", float(difference[place]), "", self.limit, image_id, where), beyond)

    def result(self) -> AnswerDifferences:
        """See `DifferenceCollector.result`."""
        counts = {"images": self.images, "with another mesh": self.other_mesh}
        return AnswerDifferences(self.images, self.voxels, self.largest.all(), counts)
