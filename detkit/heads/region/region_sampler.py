"""Sampling of the regions on which the branches of a two-stage detector are trained."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detkit.heads.assignment import NO_OBJECT, NOT_LEARNED, labeled_boxes, object_offsets
from detkit.heads.context import Context, Regions
from detkit.matching import BACKGROUND, FOREGROUND, Matcher, sample_balanced
from detkit.structures import Target


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

    def __call__(self, proposals: Regions, context: Context) -> Regions:
        """A labeled sample of `proposals`, in each image foreground first."""
        rows_of_images = proposals.slices(len(context.truth))
        nothing = proposals.image_index[:0]
        sampled = [
            self._sample(proposals.boxes[rows], target, image, offset, context.generator)
            if target.boxes is not None
            else (proposals.boxes[:0], nothing, nothing, nothing)
            for image, (rows, target, offset) in enumerate(
                zip(rows_of_images, context.truth, object_offsets(context.truth), strict=True)
            )
        ]
        boxes, image_index, labels, matched = (torch.cat(values) for values in zip(*sampled, strict=True))
        return Regions(boxes, image_index, labels, matched, [len(per_image[0]) for per_image in sampled])

    @torch.no_grad()
    def labeled(self, regions: Regions, context: Context) -> Regions:
        """All `regions` with labels; that of a region in a crowd or in an image without annotation is -2."""
        labels, matched = [regions.image_index[:0]], [regions.image_index[:0]]
        rows_of_images = regions.slices(len(context.truth))
        for rows, target, offset in zip(rows_of_images, context.truth, object_offsets(context.truth), strict=True):
            images = regions.image_index[rows]
            if target.boxes is None:
                labels.append(torch.full_like(images, NOT_LEARNED))
                matched.append(torch.zeros_like(images))
                continue
            indices, states = self.matcher(regions.boxes[rows], target)
            own = labeled_boxes(target.objects())[1]
            # An extra row for regions of an image without objects.
            classes = torch.cat((own, own.new_full((1,), NO_OBJECT)))[indices]
            others = torch.where(states == BACKGROUND, NO_OBJECT, NOT_LEARNED)
            labels.append(torch.where(states == FOREGROUND, classes, others))
            matched.append(indices + offset)
        return replace(regions, labels=torch.cat(labels), matched=torch.cat(matched))

    def _sample(
        self, proposals: Tensor, target: Target, image: int, offset: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The fields of `Regions` for one image, whose first object has the row `offset`."""
        boxes, labels = labeled_boxes(target.objects())
        candidates = torch.cat((proposals, boxes))
        indices, states = self.matcher(candidates, target)
        foreground, background = sample_balanced(states, self.count, self.foreground_fraction, generator)
        selected = torch.cat((foreground, background))
        classes = torch.cat((labels[indices[foreground]], torch.full_like(background, NO_OBJECT)))
        return candidates[selected], torch.full_like(selected, image), classes, indices[selected] + offset
