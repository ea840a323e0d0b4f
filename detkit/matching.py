"""Matching of candidate boxes to objects by IoU, and balanced sampling of the matches."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from detkit.boxes import coverage
from detkit.deprecation import moved_names
from detkit.errors import InputError
from detkit.ops import box_iou
from detkit.structures import Target
from detkit.structures.kind import to_device

FOREGROUND, BACKGROUND, IGNORED = 1, 0, -1


@dataclass(frozen=True)
class Matcher:
    """Assigns each candidate box to at most one object by IoU (Faster R-CNN, section 3.1.2).

    A candidate is foreground at IoU >= `foreground_iou` with its best object, background below `background_iou`,
    ignored in between. A background candidate that lies mostly in a crowd or ignore region is ignored.

    Args:
        foreground_iou: minimum IoU of a foreground candidate.
        background_iou: candidates below this IoU are background.
        keep_best: also make the best candidates of each object foreground (all that tie), however low their IoU; each
            is still matched to its own best object, which may be another one.
        ignore_coverage: candidates with at least this fraction of their area in an ignore region are not background.
        least_background_iou: candidates below this IoU with every object are ignored, as too easy background
            (Fast R-CNN, section 2.3: 0.1).
    """

    foreground_iou: float
    background_iou: float
    keep_best: bool = False
    ignore_coverage: float = 0.5
    least_background_iou: float = 0.0

    def __call__(self, candidates: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Match `candidates` ``(R, 4)`` to the objects of `target`.

        Returns:
            The index of each candidate's object in ``target.objects()``, int64 ``(R,)`` (0 where there is no object),
            and its state, int64 ``(R,)``: `FOREGROUND`, `BACKGROUND` or `IGNORED`.

        Raises:
            InputError: the target has no annotated boxes.
        """
        boxes = _annotated_boxes(target)
        indices = candidates.new_zeros(len(candidates), dtype=torch.int64)
        states = torch.full_like(indices, BACKGROUND)
        if len(boxes) and len(candidates):
            iou = box_iou(boxes, candidates)
            best_iou, indices = iou.max(dim=0)
            states.masked_fill_((best_iou >= self.background_iou) | (best_iou < self.least_background_iou), IGNORED)
            states.masked_fill_(best_iou >= self.foreground_iou, FOREGROUND)
            if self.keep_best:
                best_of_object = iou.amax(dim=1, keepdim=True)
                states.masked_fill_(((iou == best_of_object) & (iou > 0)).any(dim=0), FOREGROUND)
        ignored = target.ignored_boxes()
        if len(ignored):
            in_ignored = coverage(candidates, ignored).amax(dim=1) >= self.ignore_coverage
            states.masked_fill_(in_ignored & (states == BACKGROUND), IGNORED)
        return indices, states


@dataclass(frozen=True)
class BestForEachMatcher(Matcher):
    """As `Matcher`, but each object is matched to its best candidate, even if that overlaps another object more.

    SSD, section 2.2, "Matching strategy": first each object is matched to its best default box, then default boxes to
    any object with enough IoU. Of several objects with the same best box, the last one gets it.
    """

    def __call__(self, candidates: Tensor, target: Target) -> tuple[Tensor, Tensor]:
        """Match `candidates` ``(R, 4)`` to the objects of `target`; returns as of `Matcher`."""
        indices, states = super().__call__(candidates, target)
        boxes = _annotated_boxes(target)
        if len(boxes) and len(candidates):
            best_iou, best = box_iou(boxes, candidates).max(dim=1)
            # One extra slot, for objects that no candidate overlaps.
            best = torch.where(best_iou > 0, best, len(candidates))
            order = torch.arange(len(boxes), device=boxes.device)
            owners = torch.full((len(candidates) + 1,), -1, device=boxes.device)
            owners = owners.scatter_reduce(0, best, order, "amax")[:-1]
            indices = torch.where(owners >= 0, owners, indices)
            states = torch.where(owners >= 0, FOREGROUND, states)
        return indices, states


def sample_balanced(
    states: Tensor, count: int, foreground_fraction: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Sample at most `count` candidates at random, at most `foreground_fraction` of them foreground.

    Background fills up what foreground lacks (Faster R-CNN, section 3.1.3).

    Args:
        states: int64 ``(R,)``, as `Matcher` returns them.
        count: maximum number of candidates.
        foreground_fraction: maximum fraction of foreground.
        generator: random generator; None: torch's global one.

    Returns:
        The sampled foreground and background indices into `states`, int64.
    """
    foreground = torch.where(states == FOREGROUND)[0]
    background = torch.where(states == BACKGROUND)[0]
    foreground_count = min(len(foreground), int(count * foreground_fraction))
    background_count = min(len(background), count - foreground_count)
    foreground = shuffle(foreground, generator)[:foreground_count]
    background = shuffle(background, generator)[:background_count]
    return foreground, background


def shuffle(values: Tensor, generator: torch.Generator | None) -> Tensor:
    """`values` ``(N, ...)`` in random order; the generator may be on another device, for instance the CPU."""
    if generator is None:
        return values[torch.randperm(len(values), device=values.device)]
    order = torch.randperm(len(values), generator=generator, device=generator.device)
    return values[to_device(order, values.device)]


def _annotated_boxes(target: Target) -> Tensor:
    """The boxes ``(N, 4)`` of the objects of `target`."""
    boxes = target.objects().boxes
    if boxes is None:
        raise InputError(f"image {target.image_id!r} has no annotated boxes: candidates cannot be matched to objects")
    return boxes


__getattr__ = moved_names(
    __name__,
    {"RegionSampler": "detkit.heads.RegionSampler", "SampledRegions": "detkit.heads.Regions"},
)
