"""Which regions the branches of a two-stage detector learn from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from detkit.heads.context import Context, Regions
from detkit.heads.truth import NO_OBJECT, NOT_LEARNED, objects_before
from detkit.matching import BACKGROUND, FOREGROUND, Matcher, sample_balanced
from detkit.structures import Target


@dataclass(frozen=True)
class RegionSampler:
    """Draws the regions on which the branches of a two-stage detector are trained (Fast R-CNN, section 2.3).

    The objects' own boxes join the proposals, so that there is foreground from the first step on. An image whose boxes
    are not annotated gives no regions.

    Args:
        matcher: tells foreground from background.
        count: regions per image.
        foreground_fraction: largest share of foreground.
    """

    matcher: Matcher = Matcher(foreground_iou=0.5, background_iou=0.5)  # noqa: RUF009 (frozen)
    count: int = 512
    foreground_fraction: float = 0.25

    def __call__(self, proposals: Regions, context: Context) -> Regions:
        """Sample from `proposals`, with the ground truth of `context`: labeled, of each image foreground first."""
        rows_of_images = proposals.slices(len(context.truth))
        nothing = proposals.image_index[:0]
        sampled = [
            self._drawn(proposals.boxes[rows], target, image, before, context.generator)
            if target.boxes is not None
            else (proposals.boxes[:0], nothing, nothing, nothing)
            for image, (rows, target, before) in enumerate(
                zip(rows_of_images, context.truth, objects_before(context.truth), strict=True)
            )
        ]
        boxes, image_index, labels, matched = (torch.cat(values) for values in zip(*sampled, strict=True))
        return Regions(boxes, image_index, labels, matched, [len(of_image[0]) for of_image in sampled])

    @torch.no_grad()
    def labeled(self, regions: Regions, context: Context) -> Regions:
        """All `regions`, none drawn, with the ground truth of `context`.

        Of a region that learns nothing, ignored or in an image without annotation, the label is -2.
        """
        labels, matched = [regions.image_index[:0]], [regions.image_index[:0]]
        rows_of_images = regions.slices(len(context.truth))
        for rows, target, before in zip(rows_of_images, context.truth, objects_before(context.truth), strict=True):
            of_image = regions.image_index[rows]
            if target.boxes is None:
                labels.append(torch.full_like(of_image, NOT_LEARNED))
                matched.append(torch.zeros_like(of_image))
                continue
            indices, states = self.matcher(regions.boxes[rows], target)
            own = target.objects().labels
            assert own is not None
            # One row more, for regions of an image without objects.
            classes = torch.cat((own, own.new_full((1,), NO_OBJECT)))[indices]
            others = torch.where(states == BACKGROUND, NO_OBJECT, NOT_LEARNED)
            labels.append(torch.where(states == FOREGROUND, classes, others))
            matched.append(indices + before)
        return replace(regions, labels=torch.cat(labels), matched=torch.cat(matched))

    def _drawn(
        self, proposals: Tensor, target: Target, image: int, before: int, generator: torch.Generator | None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """The fields of `Regions` for one image, which has `before` objects before its own."""
        objects = target.objects()
        assert objects.boxes is not None
        assert objects.labels is not None
        candidates = torch.cat((proposals, objects.boxes))
        indices, states = self.matcher(candidates, target)
        foreground, background = sample_balanced(states, self.count, self.foreground_fraction, generator)
        chosen = torch.cat((foreground, background))
        of_regions = torch.cat((objects.labels[indices[foreground]], torch.full_like(background, -1)))
        return candidates[chosen], torch.full_like(chosen, image), of_regions, indices[chosen] + before
