"""Sampling of the regions on which the branches of a two-stage detector are trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.heads.assignment import NO_OBJECT, assign_objects, states_of
from detkit.heads.context import Context, Regions
from detkit.matching import IGNORED, BalancedSample, Matcher, draw_balanced
from detkit.structures.device_transfer import to_device
from detkit.structures.objects import Objects


@dataclass(frozen=True)
class RegionSampler:
    """Samples the regions on which the branches of a two-stage detector are trained (Fast R-CNN, section 2.3).

    The boxes of the objects are added to the proposals, so that there is foreground from the first step on. An image
    whose boxes are not annotated gives no regions.

    Args:
        matcher: assigns regions to objects and background.
        count: regions per image.
        foreground_fraction: largest share of foreground.
    """

    matcher: Matcher = Matcher(foreground_iou=0.5, background_iou=0.5)  # noqa: RUF009 (frozen)
    count: int = 512
    foreground_fraction: float = 0.25

    def __call__(self, proposals: Regions, context: Context, usable: Tensor | None = None) -> Regions:
        """A labeled sample of `proposals`, in each image foreground first. It waits for the device once.

        Args:
            proposals: of all images.
            context: with targets.
            usable: ``(R,)`` bool, the proposals that may be drawn; None is all of them.
        """
        objects, spans = context.objects, proposals.slices(len(context.truth))
        boxes = torch.cat((proposals.boxes, objects.boxes))
        rows = assign_objects(self.matcher, boxes, objects, torch.cat((proposals.image_index, objects.image_index)))
        states = states_of(rows)
        if usable is not None:
            states[: len(usable)].masked_fill_(~usable, IGNORED)
        table = to_device(_candidates_of_images(spans, objects, len(boxes)), boxes.device)
        sample = draw_balanced(
            F.pad(states, (0, 1), value=IGNORED)[table], self.count, self.foreground_fraction, context.generator
        )
        foreground, background = sample.counts()
        positions, images = to_device(_drawn_positions(foreground, background, sample), boxes.device)
        drawn = table.gather(1, sample.indices).flatten()[positions]
        rows = rows[drawn]
        labels = F.pad(objects.labels, (0, 1), value=NO_OBJECT)[rows]  # that of row -1 is the last one
        counts = [sum(both) for both in zip(foreground, background, strict=True)]
        return Regions(boxes[drawn], images, labels, rows.clamp(min=0), counts, foreground)

    @torch.no_grad()
    def labeled(self, regions: Regions, context: Context) -> Regions:
        """All `regions` with labels; that of a region in a crowd or in an image without annotation is -2."""
        rows = assign_objects(self.matcher, regions.boxes, context.objects, regions.image_index)
        labels = F.pad(context.objects.labels, (0, 1))[rows.clamp(min=-1)]
        return replace(regions, labels=torch.where(rows >= 0, labels, rows), matched=rows.clamp(min=0))


def _candidates_of_images(spans: Sequence[slice], objects: Objects, padding: int) -> Tensor:
    """The rows of the candidates of each image ``(B, M)``: its proposals, then its objects after those of all."""
    proposals = spans[-1].stop
    pairs = zip(spans, objects.offsets, objects.counts, strict=True)
    rows = [np.r_[span, proposals + first : proposals + first + count] for span, first, count in pairs]
    table = np.full((len(rows), max(len(own) for own in rows)), padding)
    for image, own in enumerate(rows):
        table[image, : len(own)] = own
    return torch.from_numpy(table)


def _drawn_positions(foreground: Sequence[int], background: Sequence[int], sample: BalancedSample) -> Tensor:
    """Where what was drawn stands in the rows of `sample` laid end to end ``(R,)``, and the image of each."""
    width, begin = sample.indices.shape[1], sample.most_foreground
    positions = [
        np.r_[width * image : width * image + positives, width * image + begin : width * image + begin + negatives]
        for image, (positives, negatives) in enumerate(zip(foreground, background, strict=True))
    ]
    images = np.arange(len(positions)).repeat([len(own) for own in positions])
    return torch.from_numpy(np.stack((np.concatenate(positions), images)).astype(np.int64))
